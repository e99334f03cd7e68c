"""What it means that a log is whole, said a second time and as plainly as possible. Imports nothing of the product.

The answer is yes or no: naming a fault is the product's own business, being right about whether there is one is not.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple


class Link(NamedTuple):
    """What the chain rule reads of a receipt."""

    session: str
    seq: int
    prev: str
    leaf: str
    anchor: str  # head of the trust registry that the receipt relies on
    event: str = ""  # "start" and "end" of a session; "" for every other receipt
    count: int = -1  # what an "end" says the session had before it


def is_whole(log: Sequence[Link]) -> bool:
    """Whether `log`, in its order, can be the log of an honest kernel."""
    if len({link.leaf for link in log}) != len(log):
        return False
    sessions: dict[str, list[Link]] = {}
    for link in log:
        sessions.setdefault(link.session, []).append(link)
    return all(is_session(links) for links in sessions.values())


def is_session(links: Sequence[Link]) -> bool:
    if [link.seq for link in links] != list(range(len(links))):
        return False
    expected = [links[0].anchor] + [link.leaf for link in links[:-1]]
    if [link.prev for link in links] != expected:
        return False
    if links[0].event != "start" or any(link.event == "start" for link in links[1:]):
        return False
    ends = [link for link in links if link.event == "end"]
    return not ends or (ends == [links[-1]] and ends[0].count == len(links) - 1)


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1 over leaf hashes, as it is defined there: recursively."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = max(2**power for power in range(len(leaves).bit_length()) if 2**power < len(leaves))
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def leaf(line: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + line).digest()
