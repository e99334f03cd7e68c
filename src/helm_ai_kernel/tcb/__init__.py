"""The trusted computing base: formats and their verification, without I/O, clock or randomness."""
