"""Protocols as machines: bytes in, events out. Nothing here opens, waits, prints, reads a clock or draws randomness."""
