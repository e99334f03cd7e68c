"""What happened, as a person reads it: receipts, sessions, the graph; hostile content is shown and obeyed by nothing."""

import json
import sqlite3
from contextlib import closing

import pytest

from cli.terminal import Terminal
from helm_ai_kernel.tcb.codes import Reason

EVIL = "\x1b]0;owned\x07\x1b[2K\rsafe \u202e\u2066text\u2069 \u200b\x9b31m \\u{41} \U0001f600"


def note(text: str) -> str:
    return text


@pytest.fixture
def used(terminal: Terminal) -> Terminal:
    """One call that was allowed, one that was refused, in a session of their own."""
    with terminal.place.program(note) as program:
        program["note"]("hello")
        program.kernel.call("python/unknown", {})
    return terminal


def test_receipts_are_listed_in_the_order_of_the_log(used: Terminal) -> None:
    rows = used.done("receipts", "list", "--format", "json").json
    receipts = used.place.receipts()
    assert [(row["index"], row["leaf"]) for row in rows] == [(r.index, r.leaf) for r in receipts]
    assert [row["kind"] for row in rows] == [
        "session", "statement", "statement", "session", "decision", "outcome", "decision", "session", "session",
    ]  # fmt: skip
    text = used.done("receipts", "list").out.splitlines()
    assert [line.split()[0] for line in text] == [str(row["index"]) for row in rows]
    assert text[1].endswith("statement pin")
    assert text[3].endswith("session   start local at library")
    assert text[4].endswith("decision  ALLOW OK python/note")
    assert text[5].endswith(f"outcome   OK of {rows[4]['leaf'][7:19]}")
    assert text[6].endswith("decision  DENY ERR_TOOL_NOT_ALLOWED python/unknown")


def test_the_newest_are_listed_and_one_session_alone(used: Terminal) -> None:
    assert [row["index"] for row in used.done("receipts", "list", "--newest", "2", "--format", "json").json] == [7, 8]
    assert len(used.done("receipts", "list", "--newest", "0").out.splitlines()) == 9
    session = used.place.receipts()[4].session
    for newest, count in (("0", 5), ("2", 2)):
        said = used.done("receipts", "list", "--session", session, "--newest", newest, "--format", "json").json
        assert [row["seq"] for row in said] == list(range(5))[-count:]
    assert used.done("receipts", "list", "--session", "0" * 32, "--format", "json").json == []


def test_a_receipt_is_found_by_index_by_leaf_and_by_its_first_digits(used: Terminal) -> None:
    receipt = used.place.receipts()[4]
    for name in ("4", receipt.leaf, receipt.leaf[7:], receipt.leaf[7:23]):
        said = used.done("receipts", "show", name, "--format", "json").json
        assert (said["index"], said["leaf"], said["body"]["tool"]) == (4, receipt.leaf, "python/note")
        assert said["kept"] == {"arguments": '{"text":"hello"}'}
    text = used.done("receipts", "show", "4").out
    assert 'verdict      "ALLOW"' in text
    assert 'kept arguments: {"text":"hello"}' in text
    assert used.done("receipts", "show", "5", "--format", "json").json["kept"] == {"output": '"hello"'}


def test_hostile_arguments_and_names_are_shown_harmless(terminal: Terminal) -> None:
    with terminal.place.program(note) as program:
        program["note"](EVIL)
        program.kernel.call("python/" + EVIL, {EVIL: EVIL})
        program.kernel.run(lambda runtime: runtime.call(b"\xff\x1b[31m", principal="local", door="library"))
    for index in range(4, 8):
        terminal.done("receipts", "show", str(index))
        terminal.done("receipts", "show", str(index), "--format", "json")
    assert json.loads(terminal.done("receipts", "show", "4", "--format", "json").json["kept"]["arguments"]) == {"text": EVIL}
    for argv in (("receipts", "list"), ("receipts", "graph"), ("sessions",)):
        terminal.done(*argv)
        terminal.done(*argv, "--format", "json")


def test_the_graph_shows_what_led_to_what(used: Terminal) -> None:
    text = used.done("receipts", "graph").out
    assert "#5      outcome OK after" in text
    assert "<- outcome #4" in text
    session = used.place.receipts()[4].session
    assert used.done("receipts", "graph", session[:8]).out.splitlines()[0] == f"session {session}"
    edges = used.done("receipts", "graph", session, "--format", "json").json
    leaves = {receipt.leaf for receipt in used.place.receipts() if receipt.session == session}
    assert {edge["effect"] for edge in edges} < leaves
    assert {edge["link"] for edge in edges} == {"session", "outcome"}


def test_sessions_say_who_where_how_many_and_how_they_ended(used: Terminal) -> None:
    rows = used.done("sessions", "--format", "json").json
    assert [(row["principal"], row["door"], row["receipts"], row["state"]) for row in rows] == [
        ("kernel", "kernel", 4, "ended: closed"), ("local", "library", 5, "ended: closed"),
    ]  # fmt: skip
    assert len(used.done("sessions").out.splitlines()) == 2


def test_a_session_that_is_under_way_is_not_ended(terminal: Terminal) -> None:
    with terminal.place.program(note) as program:
        program["note"]("a")
        rows = terminal.done("sessions", "--format", "json").json
    assert [row["state"] for row in rows] == ["not ended", "not ended"]


def test_fsck_names_damage_and_says_no(used: Terminal) -> None:
    assert used.done("fsck").out == "9 receipts, no damage\n"
    with closing(sqlite3.connect(used.place.paths.store / "ledger.db")) as conn:
        conn.execute("UPDATE receipts SET line=replace(line, 'DENY', 'DENI') WHERE idx=6")
        conn.commit()
    said = used("fsck")
    assert said.code == 1
    assert "receipt 6" in said.out or "damage" in said.out
    assert used("fsck", "--format", "json").json["damage"]


def test_a_damaged_receipt_is_a_finding_and_a_hint(used: Terminal) -> None:
    with closing(sqlite3.connect(used.place.paths.store / "ledger.db")) as conn:
        conn.execute("UPDATE receipts SET line=x'7b7d' WHERE idx=6")
        conn.commit()
    said = used("receipts", "list")
    assert said.code == 1
    assert said.err.splitlines()[-1] == "hint: helm-ai-kernel fsck"


def test_the_newest_of_a_million_receipts_are_read_alone(used: Terminal) -> None:
    """Rows that are no receipts stand for the others: whoever reads one of them fails."""
    receipts, million = used.place.receipts(), 1_000_000
    session = bytes.fromhex(receipts[4].session)
    with closing(sqlite3.connect(used.place.paths.store / "ledger.db")) as conn:
        poison = ((index, session, index, "decision", b"", b"") for index in range(100, million, 1000))
        conn.executemany("INSERT INTO receipts VALUES (?,?,?,?,?,?)", poison)
        row = (million - 1, session, million - 1, "decision", b"", receipts[4].line)
        conn.execute("INSERT INTO receipts VALUES (?,?,?,?,?,?)", row)
        conn.commit()
    for argv in (("--newest", "1"), ("--newest", "1", "--session", receipts[4].session)):
        said = used.done("receipts", "list", *argv, "--format", "json").json
        assert [row["index"] for row in said] == [million - 1]
    assert used("receipts", "list", "--newest", "2000").code == 1


def test_every_reason_that_a_caller_met_is_explained(used: Terminal) -> None:
    for row in used.done("receipts", "list", "--format", "json").json:
        if row["kind"] in ("decision", "outcome") and "reason" in row:
            assert used.done("explain", row["reason"]).out.startswith(f"## {Reason(row['reason'])}")
