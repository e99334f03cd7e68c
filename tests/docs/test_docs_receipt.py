"""The pages of the record, the receipt and the statement say what is there: their examples are made again, their tables compared.

`PYTHONPATH=tests python tests/docs/test_docs_receipt.py` prints the examples, for whoever has to change the format.
"""

import base64
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from helm_ai_kernel.tcb import pack, shapes
from helm_ai_kernel.tcb import receipt as receipts
from helm_ai_kernel.tcb import statement as statements
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import _FACTS, Claim, ClaimState, Contract, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, attachment_name
from helm_ai_kernel.tcb.envelope import Record, pae, payload_type
from helm_ai_kernel.tcb.events import KIND as TRUST
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.registry import Registry
from helm_ai_kernel.tcb.shapes import SHAPES
from helm_ai_kernel.tcb.statement import StatementKind, sign
from packs import AT, TOOL, WALL_MS, Body, Deployment, Log, after, key

SPEC = Path(__file__).resolve().parent.parent.parent / "docs/spec"


@cache
def example() -> Log:
    """The log of the pages: every shape of a receipt and every kind of attachment, from published seeds."""
    log = Log(Deployment("example"))
    log.start_kernel()
    log.activate(tools=("add", "send"))
    agent = log.start("agent", "library")
    log.deny_raw(agent)
    named, reads, reserved = log.attach(b"order-7"), {"rules": ["reads"]}, {"reserved": {"daily": 1}}
    within: Body = {**reads, **reserved, "deadline_ms": WALL_MS + 30_000}
    first = log.decide(agent, Verdict.ALLOW, more={**within, "key": named}, facts={"budget": {"daily": 5}})
    log.settle(agent, first.leaf, more={"spent": {"daily": 1}})
    facts = {"claim": Claim(first.leaf, ClaimState.DONE, same_args=True), "budget": {"daily": 4}}
    repeat: Body = {"repeats": first.leaf, "key": named}
    args = Digest(str(first.body["args_hash"]))
    log.decide(agent, Verdict.ALLOW, Reason.REPEATED, args=args, more=repeat, facts=facts, parents=[first.leaf])
    second = log.decide(agent, Verdict.ALLOW, more=within, facts={"budget": {"daily": 4}})
    drifted = log.settle(agent, second.leaf, Status.DRIFT, more={"sub": "type", "spent": {"daily": 1}})
    hold = log.hold(drifted.leaf)
    log.deny(agent, Reason.ERR_TOOL_HALTED, hold=hold.leaf, budget={"daily": 3})
    release(log, hold.leaf)
    log.decide(agent, Verdict.DENY, Reason.ERR_TOOL_NOT_ALLOWED, tool="demo/wipe", change=unpinned)
    asks: Body = {"rules": ["ask-first"], "effect": "network"}
    log.settle(agent, ceremony(log, agent, asks).leaf)
    freeze = log.freeze("server:demo", "olga")
    log.deny(agent, Reason.ERR_FROZEN, frozen=freeze.leaf)
    log.thaw(freeze)
    given = log.grant(calls=2, clock=after(70_000))
    log.settle(agent, log.use(agent, given, clock=after(71_000), more=reads).leaf)
    log.revoke(given)
    overridden, unanswered = (log.escalate(agent, tool="demo/send", more=asks, clock=after(72_000)) for _ in range(2))
    log.override(overridden, clock=after(73_000))
    log.lapse(unanswered, clock=after(72_000 + 3_600_001))
    log.gap("mcp-http", ERR_UPSTREAM_SHAPE=1200)
    crashed = log.decide(agent, Verdict.ALLOW, more=within, facts={"budget": {"daily": 3}})
    log.start_kernel()
    log.recover(1)
    log.settle(log.kernel, crashed.leaf, Status.UNKNOWN, more={"ms": 0, "spent": {"daily": 1}})
    log.end(log.kernel)
    return log


def ceremony(log: Log, agent: str, asks: Body) -> Receipt:
    """A call that waits for a person and then for a minute; the dispatch."""
    call = log.escalate(agent, tool="demo/send", more=asks, timelock_ms=60_000, clock=after(1000))
    log.approve(call, clock=after(5000))
    log.poll(agent, call, tool="demo/send", more=asks, clock=after(6000))
    return log.resume(agent, call, tool="demo/send", more={**asks, "rules": ["send"]}, clock=after(65_000))


def unpinned(body: Body) -> None:
    """As of a tool that is not in the catalogue."""
    del body["pin"], body["effect"]


def release(log: Log, hold: Digest) -> Receipt:
    content: Body = {"tool": TOOL, "hold": hold}
    nonce, signers = log.fresh("nonce").hex()[:32], [log.deployment.approval]
    signed = sign(StatementKind.RELEASE, content, log=log.deployment.origin, at=AT, nonce=nonce, signers=signers)
    return log.append(log.kernel, Kind.STATEMENT, {"statement": signed.record.to_json()}, [hold])


def stated() -> list[bytes]:
    """The lines of the statements in the example."""
    inner = [receipt.body["statement"] for receipt in example().receipts if receipt.kind is Kind.STATEMENT]
    return [Record.from_json(value).line for value in inner]


def envelope(line: bytes) -> dict[str, object]:
    """The same record as a DSSE envelope."""
    record = Record.from_bytes(line)
    sigs = [{"keyid": id, "sig": base64.b64encode(sig).decode()} for id, sig in record.sigs]
    payload = base64.b64encode(record.payload).decode()
    return {"payload": payload, "payloadType": payload_type(record.kind).decode(), "signatures": sigs}


def joined(lines: Iterable[bytes]) -> str:
    return "".join(line.decode() + "\n" for line in lines)


# -- reading the pages


@cache
def page(name: str) -> str:
    return (SPEC / f"{name}.md").read_text(encoding="utf-8")


def fences(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


def section(name: str, heading: str) -> str:
    """The text below that heading, up to the next of any level."""
    parts = re.split(r"^#+ (.+)$", page(name), flags=re.MULTILINE)
    found = [text for title, text in zip(parts[1::2], parts[2::2], strict=True) if title.replace("`", "") == heading]
    assert len(found) == 1, f"{name}.md has {len(found)} headings `{heading}`"
    return found[0]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table in `text`, without its header."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()[2:]] for block in blocks
    ]


def field_table(name: str, heading: str) -> tuple[set[str], set[str]]:
    """The fields that the first table below the heading calls `always` there, and the others."""
    rows = tables(section(name, heading))[0]
    named = [(re.findall(r"`([a-z_]+)`", row[0]), row[1]) for row in rows]
    listed = [field for fields, _ in named for field in fields]
    assert listed and len(listed) == len(set(listed))
    always = {field for fields, present in named for field in fields if present == "always"}
    return always, set(listed) - always


def words(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


# -- the examples


def test_the_lines_of_the_receipt_page_are_a_log_from_published_seeds() -> None:
    log = example()
    shown, trust = fences("receipt", "jsonl")
    assert shown == joined(log.lines) and trust == joined(log.deployment.registry.lines)
    (note,) = [fence for fence in fences("receipt", "text") if fence.startswith(log.deployment.origin)]
    assert note.encode() == log.checkpoint()


def test_the_examples_log_is_whole() -> None:
    log = example()
    report = verify(log.pack(withhold=False), Question(genesis=log.genesis))
    assert report.exit is Exit.VALID, report.to_text()
    assert Checkpoint.from_bytes(log.checkpoint()).size == len(log.lines)
    assert Registry.replay(log.deployment.registry.lines).genesis == log.genesis and log.genesis in page("receipt")


def test_the_example_shows_every_shape_and_its_table_of_lines_says_which() -> None:
    log = example()
    rows = {int(line): what for line, what in tables(section("receipt", "Receipt"))[0]}
    assert list(rows) == list(range(len(log.lines)))
    for receipt in log.receipts:
        body, what = receipt.body, rows[receipt.index]
        said = [receipt.kind.value, *(str(body[name]) for name in ("event", "verdict", "status") if name in body)]
        if receipt.kind is Kind.STATEMENT:
            said.append(Record.from_json(body["statement"]).kind)
        if "verdict" in body or receipt.reason is not Reason.OK:
            said.append(receipt.reason.value)
        assert what.startswith(f"`{' '.join(said)}`"), (receipt.index, said)
    variants = {
        "session start" if receipt.body.get("event") == "start" else
        "session end" if receipt.body.get("event") == "end" else
        "decision raw" if "raw_hash" in receipt.body else
        "freeze" if receipt.kind is Kind.HOLD and "scope" in receipt.body else receipt.kind.value
        for receipt in log.receipts
    }  # fmt: skip
    assert variants == SHAPES.keys()


def test_the_keys_of_the_example_are_those_of_the_seeds_that_the_page_publishes() -> None:
    text = page("receipt")
    for purpose in (Purpose.ROOT, Purpose.APPROVAL, Purpose.EXECUTION, Purpose.LOG):
        assert f"`helm test seed: example {purpose.value}`" in text
        assert key(f"example {purpose.value}", purpose).public.id in fences("receipt", "jsonl")[1]


def test_the_attachments_of_the_page_are_what_the_receipts_name() -> None:
    log = example()
    fields, rows = tables(section("receipt", "Attachments"))
    shown = set()
    for line, *cells in rows:
        field, salt, content = (cell.strip("`") for cell in cells)
        name = Digest(str(log.receipts[int(line)].body[field]))
        assert attachment_name(bytes.fromhex(salt), content.encode()) == name
        assert log.attachments[name] == bytes.fromhex(salt) + content.encode()
        shown.add(field)
    assert shown == {field.strip("`") for field, *_ in fields} == set(pack._ATTACHMENTS)


def test_the_record_page_shows_one_record_in_its_three_forms() -> None:
    (line,) = fences("record", "jsonl")
    record = Record.from_bytes(line.strip().encode())
    assert line == joined([example().lines[0]])
    (signed,) = fences("record", "text")
    assert signed == pae(record.kind, record.payload).decode() + "\n"
    entry = example().deployment.registry.key(record.sigs[0][0], at_size=4)
    record.verify(lambda _: entry.key)
    assert base64.b64encode(entry.key.raw).decode() in page("record") and record.leaf in page("record")
    (dsse,) = fences("record", "json")
    assert json.loads(dsse) == envelope(record.line)


def test_the_statement_page_shows_the_statements_of_the_examples_log() -> None:
    (shown,) = fences("statement", "jsonl")
    assert shown == joined(stated())


# -- the tables


def test_the_table_of_common_fields_is_the_code() -> None:
    assert field_table("receipt", "Every receipt") == (set(shapes._COMMON), set())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_table_of_a_shape_is_the_code(shape: str) -> None:
    assert field_table("receipt", shape) == tuple(map(set, SHAPES[shape]))


def test_the_page_has_no_table_of_a_shape_that_is_not_there() -> None:
    headings = {title.replace("`", "") for title in re.findall(r"^### (.+)$", page("receipt"), re.MULTILINE)}
    assert headings == SHAPES.keys()


def test_the_table_of_facts_is_the_code() -> None:
    assert field_table("receipt", "Facts") == ({"clock"}, set(_FACTS))
    clock, claim = (row[2] for row in tables(section("receipt", "Facts"))[0] if row[0] in ("`clock`", "`claim`"))
    assert {"{wall_ms, boot, boot_ms}"} <= words(clock)
    assert {"{decision, state, same_args}", *(state.value for state in ClaimState)} <= words(claim)


@pytest.mark.parametrize(
    ("heading", "field", "closed"),
    [
        ("decision", "verdict", Verdict),
        ("decision", "effect", Effect),
        ("outcome", "contract", Contract),
    ],
)
def test_the_words_of_a_closed_list_are_all_there(heading: str, field: str, closed: type) -> None:
    (row,) = [row for row in tables(section("receipt", heading))[0] if row[0] == f"`{field}`"]
    assert words(row[2]) == {word.value for word in closed}  # type: ignore[attr-defined]


def test_the_table_of_statuses_is_the_code() -> None:
    rows = {row[0].strip("`"): row for row in tables(section("receipt", "outcome"))[1]}
    assert rows.keys() == {status.value for status in Status}
    for status, why in shapes._REASONS.items():
        assert rows[status.value][2] == ("none" if why is None else f"`{why.value}`")
    assert [name for name, row in rows.items() if row[3].startswith("always")] == ["OK", "DRIFT"]
    assert [name for name, row in rows.items() if row[4] != "none"] == ["OK", "LATE", "REPORTED"]


def test_the_bounds_of_the_page_are_those_of_the_code() -> None:
    forms = section("receipt", "Forms of a value")
    assert f"to {receipts.TEXT_MAX} characters" in forms and f"at most {receipts.LIST_MAX:,} items" in forms


def test_the_kinds_of_record_are_all_there() -> None:
    listed = set().union(*(words(row[0]) for row in tables(section("record", "Kinds"))[0]))
    assert listed == {*(kind.value for kind in Kind), *(kind.value for kind in StatementKind), TRUST}


def test_the_tables_of_the_statement_page_are_the_code() -> None:
    assert field_table("statement", "Every statement") == (set(statements._COMMON), set())
    rows = {row[0].strip("`"): words(row[1]) for row in tables(section("statement", "What each says"))[0]}
    changes = {"policy", "catalog"}
    assert rows["activation"] == rows["pin"] == changes and rows["release"] == {"tool", "scope", "hold"}
    other = {kind: statements._FIELDS[kind] for kind in StatementKind if kind is not StatementKind.RELEASE}
    assert {kind: rows[kind.value] for kind in other} == other and set(rows) == {kind.value for kind in StatementKind}


def main() -> None:
    log = example()
    print(joined(log.lines), joined(log.deployment.registry.lines), log.checkpoint().decode(), log.genesis, sep="\n")
    for index, receipt in enumerate(log.receipts):
        for field in pack._ATTACHMENTS:
            kept = log.attachments.get(Digest(str(receipt.body.get(field))))
            if kept is not None:
                print(f"| {index} | `{field}` | `{kept[:32].hex()}` | `{kept[32:].decode()}` |")
    first = log.receipts[0]
    print(
        pae("session", Record.from_bytes(first.line).payload).decode(),
        json.dumps(envelope(first.line), indent=2),
        first.leaf,
        sep="\n",
    )
    print(joined(stated()))


if __name__ == "__main__":
    main()
