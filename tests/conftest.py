"""Makes `tests/` importable (`from corpora import corpus`) and refuses skips that CI must not have."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
