"""The terminal of the command line's own tests: what a person types in an attack is what a person types."""

from cli.conftest import terminal

__all__ = ["terminal"]
