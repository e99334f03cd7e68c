"""Attacks on a pack as one value: whoever changes anything that JSON can say, with or without a key of ours, is found out."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import container, pack
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.jcs import canonical
from packs import AT, Body, Deployment, Log, relined, repack, short, story

STORY = story()
FILES = STORY.files(withhold=False)
JSON_LINES = (pack.RECEIPTS, pack.TRUST)
Path = tuple[str | int, ...]

# What stands in a field after the attack: each type, what is empty, and what stands elsewhere in a log.
VALUES: list[Any] = [None, True, False, 0, 1, -1, 2**53 - 1, 0.5, "", "x", [], {}, [""], {"x": 1}]
VALUES += [AT, "kernel", "OK", "ALLOW", "end", digest(b"x"), "0" * 32, STORY.deployment.origin, STORY.receipts[-1].leaf]


def places(node: Any, path: Path = ()) -> Iterator[Path]:
    steps = node.items() if type(node) is dict else enumerate(node) if type(node) is list else ()
    for step, inner in steps:
        yield (*path, step)
        yield from places(inner, (*path, step))


@st.composite
def attacks(draw: st.DrawFn, original: Any) -> Any:
    """`original` with one place removed, replaced, or given a neighbour."""
    changed = json.loads(canonical(original))
    path = draw(st.sampled_from(list(places(changed))))
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    how, value = draw(st.sampled_from(["remove", "replace", "replace", "add"])), draw(st.sampled_from(VALUES))
    if how == "remove":
        del holder[path[-1]]
    elif how == "replace":
        holder[path[-1]] = value
    elif type(holder) is dict:
        holder[draw(st.sampled_from(["x", "v", "body", "policy", "reason"]))] = value
    else:
        holder.append(value)
    assume(canonical(changed) != canonical(original))
    return changed


def verdict(data: bytes) -> Exit:
    return verify(data, Question(genesis=STORY.genesis)).exit


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(JSON_LINES))
def test_who_has_no_key_changes_nothing_in_a_receipt_or_a_registry_event(data: st.DataObject, name: str) -> None:
    lines = pack.lines(FILES[name])
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = canonical(data.draw(attacks(json.loads(lines[at]))))
    found = verdict(repack({**FILES, name: pack.joined(lines)}))
    # A registry that claims to be of a later version cannot be read at all; the checkpoint gives away every changed receipt.
    assert found is Exit.INVALID or (found is Exit.UNSUPPORTED and name == pack.TRUST)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_who_has_no_key_changes_nothing_in_a_manifest(data: st.DataObject) -> None:
    changed = canonical(data.draw(attacks(json.loads(FILES[pack.MANIFEST]))))
    assert verdict(container.write({**FILES, pack.MANIFEST: changed})) in (Exit.INVALID, Exit.UNSUPPORTED)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_who_has_the_keys_of_the_kernel_changes_no_receipt_that_another_one_follows(data: st.DataObject) -> None:
    """Signed again with the execution key, the tree and the checkpoint with the log's: the chain tells, or the story does."""
    follow = {receipt.prev for receipt in STORY.receipts}
    receipt = data.draw(st.sampled_from([receipt for receipt in STORY.receipts if receipt.leaf in follow]))
    body: Body = data.draw(attacks({name: value for name, value in receipt.body.items() if name not in ("kind", "signers")}))
    lines = list(STORY.lines)
    lines[receipt.index] = seal({**body, "kind": receipt.kind.value}, [STORY.deployment.execution]).line
    assert verdict(relined(STORY, lines)) in (Exit.INVALID, Exit.UNSUPPORTED)


def test_the_receipts_of_one_log_are_no_receipts_of_another() -> None:
    """Whole and rightly signed, in another log: nothing can be carried over, to no place."""
    other = short()
    mine = story(Log(Deployment("another")))
    for line in other.lines:
        for at in range(0, len(mine.lines), 5):
            lines = [*mine.lines[:at], line, *mine.lines[at:]]
            assert verify(relined(mine, lines), Question(genesis=mine.genesis)).exit is Exit.INVALID
