"""The trusted computing base: formats and their verification. Standard library, pynacl, jiter and orjson; no I/O, no clock, no randomness."""
