"""Behind a start that checked only the tail: every stored line is hashed again and folded to the root that was signed.

It reads through a connection of its own, beside the running kernel. Damage seals: a log that is not the signed one any more
must not grow.
"""

from pathlib import Path
from threading import Event

from helm_ai_kernel.tcb.merkle import Frontier, leaf_hash

from . import store


def scrub(database: Path, signed: Frontier, stop: Event) -> str:
    """What is wrong with the first `signed.size` receipts; empty where they are what was signed, or `stop` was set.

    Raises `OutsideError` where they cannot be read.
    """
    conn = store.connect(database, read_only=True)
    try:
        with store.outside():
            frontier = Frontier()
            for index, line in conn.execute("SELECT idx, line FROM receipts WHERE idx < ? ORDER BY idx", (signed.size,)):
                if stop.is_set():
                    return ""
                if index != frontier.size or not isinstance(line, bytes):
                    return f"receipt {frontier.size} is missing or has another form than it was written in"
                frontier = frontier.append(leaf_hash(line))
    finally:
        conn.close()
    return "" if frontier == signed else f"the first {signed.size} receipts are not the ones that were signed"
