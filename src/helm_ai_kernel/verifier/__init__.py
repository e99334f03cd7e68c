"""The outsider's tool: files in, findings and an exit code out. It rests on `tcb` and on nothing else of the kernel."""
