"""The configuration files of AI clients: which there are, what in them is a server, and how it is led through the kernel."""
