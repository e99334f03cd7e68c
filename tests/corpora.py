"""Where the public test corpora are, or a skip that says how to get them."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent / "shared" / "corpora"


def corpus(name: str) -> Path:
    """The folder of that corpus beside the checkout; skips where it is absent."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"the public corpus `{name}` is not at {path}: place it there to run this test")
    return path
