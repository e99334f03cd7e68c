"""The policy enforcement point: what may be called, by which pinned contract, in both directions. No I/O, no clock."""
