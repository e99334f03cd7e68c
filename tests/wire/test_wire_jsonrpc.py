"""Which answer belongs to which request, and when nobody can know any more (faults 1.11)."""

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.wire import jsonrpc
from helm_ai_kernel.wire.jsonrpc import Asked, Broken, Dropped, Ended, Event, Failure, Notified, Peer, Result, State

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first draw builds tables; machines are shared


def peer(requests: int = 1, **options: int) -> Peer:
    made = Peer(**options)
    for _ in range(requests):
        made.request("m", b"{}")
    return made


def events(machine: Peer, *pieces: bytes) -> list[Event]:
    out: list[Event] = []
    for piece in pieces:
        machine.feed(piece)
        while (event := machine.next_event()) is not None:
            out.append(event)
    return out


def one(line: bytes, requests: int = 1) -> Event:
    (event,) = events(peer(requests), line + b"\n")
    return event


def test_a_request_is_one_line_with_a_fresh_id() -> None:
    machine = Peer()
    assert machine.request("tools/call", b'{"b":1,"a":2}') == (
        1,
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"b":1,"a":2}}\n',
    )
    assert machine.request("m", b"{}")[0] == 2


@pytest.mark.parametrize("params", [b'{"a":\n1}', b'{}\n{"jsonrpc":"2.0","id":9,"method":"tools/call"}', b"{}\r"])
def test_parameters_with_a_line_break_are_refused(params: bytes) -> None:
    machine = Peer()
    with pytest.raises(Refused, match="line break"):
        machine.request("m", params)
    assert machine.pending == 0


def test_a_result_is_returned_as_the_bytes_that_stood_there() -> None:
    raw = rb'{ "b" : 1.0, "a":"\u0041", "n":18446744073709551616,"x":[ ] }'
    assert one(b' {"id":1 ,"result": ' + raw + b' , "jsonrpc":"2.0"}\r') == Result(1, raw, late=False)


@pytest.mark.parametrize("raw", [b"null", b"0", b'""', b"[]", b"false"])
def test_a_result_may_be_any_value(raw: bytes) -> None:
    assert one(b'{"jsonrpc":"2.0","id":1,"result":' + raw + b"}") == Result(1, raw, late=False)


def test_an_error_keeps_its_code_and_its_bytes() -> None:
    raw = b'{"code":-32000,"message":"no","data":[1 ]}'
    assert one(b'{"jsonrpc":"2.0","id":1,"error":' + raw + b"}") == Failure(1, -32000, raw, late=False)


@pytest.mark.parametrize("text", [b'"1"', b"1.0", b"1e0", b"null", b"0", b"-1", b"2", b"99", b"true", b"[1]", b'""', b"10e-1"])
def test_an_answer_whose_id_is_not_the_very_text_that_we_sent_is_dropped(text: bytes) -> None:
    machine = peer()
    line = b'{"jsonrpc":"2.0","id":' + text + b',"result":{}}\n'
    assert events(machine, line) == [Dropped(text)]
    assert events(machine, b'{"jsonrpc":"2.0","id":1,"result":7}\n') == [Result(1, b"7", late=False)]


def test_an_error_without_an_id_is_dropped() -> None:
    assert one(b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"parse"}}') == Dropped(b"")


def test_a_second_answer_to_a_request_ends_the_connection() -> None:
    line = b'{"jsonrpc":"2.0","id":1,"result":%s}\n'
    machine = peer(2)
    found = events(machine, line % b"1", line % b"2", b'{"jsonrpc":"2.0","id":2,"result":3}\n')
    assert found == [Result(1, b"1", late=False), Broken("id_conflict", (line % b"2")[:-1])]
    assert machine.state is State.ERROR


def test_an_answer_after_giving_up_is_late_and_comes_once() -> None:
    machine = peer()
    machine.abandon(1)
    line = b'{"jsonrpc":"2.0","id":1,"result":7}\n'
    assert events(machine, line) == [Result(1, b"7", late=True)]
    assert events(machine, line) == [Broken("id_conflict", line[:-1])]


def test_a_late_answer_that_is_not_recognised_any_more_is_dropped_and_conflicts_with_nothing() -> None:
    machine = peer(jsonrpc.ABANDONED_MAX + 2)
    for number in range(1, jsonrpc.ABANDONED_MAX + 2):
        machine.abandon(number)
    line = b'{"jsonrpc":"2.0","id":%d,"result":7}\n'
    found = events(machine, line % 1, line % 2, line % (jsonrpc.ABANDONED_MAX + 2))
    assert found == [Dropped(b"1"), Result(2, b"7", late=True), Result(jsonrpc.ABANDONED_MAX + 2, b"7", late=False)]


BREAKING = {
    "both result and error": (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}', "result_and_error"),
    "result and null error": (b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}', "result_and_error"),
    "neither": (b'{"jsonrpc":"2.0","id":1}', "shape"),
    "no id": (b'{"jsonrpc":"2.0","result":{}}', "shape"),
    "batch": (b'[{"jsonrpc":"2.0","id":1,"result":{}}]', "batch"),
    "empty batch": (b"[]", "batch"),
    "number": (b"1", "shape"),
    "string": (b'"x"', "shape"),
    "null": (b"null", "shape"),
    "empty line": (b"", "json syntax"),
    "log line": (b"Server listening on port 1", "json syntax"),
    "two documents": (b"{} {}", "json syntax"),
    "cut off": (b'{"jsonrpc":"2.0","id":1,"result":{', "json syntax"),
    "duplicate key": (b'{"jsonrpc":"2.0","id":1,"id":1,"result":{}}', "json dup_key"),
    "duplicate key by escape": (rb'{"jsonrpc":"2.0","id":1,"result":1,"\u0072esult":2}', "json dup_key"),
    "not utf-8": (b'{"jsonrpc":"2.0","id":1,"result":"\xff"}', "json encoding"),
    "byte order mark": (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"result":1}', "json bom"),
    "deep": (b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 10_000, "json depth"),
    "lone surrogate": (rb'{"jsonrpc":"2.0","id":1,"result":"\ud800"}', "json surrogate"),
    "infinite": (b'{"jsonrpc":"2.0","id":1,"result":1e999}', "json number_range"),
    "version 1": (b'{"id":1,"result":{}}', "version"),
    "version 1.0": (b'{"jsonrpc":"1.0","id":1,"result":{}}', "version"),
    "version as a number": (b'{"jsonrpc":2.0,"id":1,"result":{}}', "version"),
    "unknown member": (b'{"jsonrpc":"2.0","id":1,"result":{},"helm":{"verdict":"ALLOW"}}', "shape"),
    "error is no object": (b'{"jsonrpc":"2.0","id":1,"error":"no"}', "shape"),
    "error without message": (b'{"jsonrpc":"2.0","id":1,"error":{"code":1}}', "shape"),
    "error code is no integer": (b'{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}', "shape"),
    "error code is true": (b'{"jsonrpc":"2.0","id":1,"error":{"code":true,"message":""}}', "shape"),
    "error code is huge": (b'{"jsonrpc":"2.0","id":1,"error":{"code":99999999999,"message":""}}', "shape"),
    "method and result": (b'{"jsonrpc":"2.0","id":1,"method":"m","result":{}}', "shape"),
    "method is no string": (b'{"jsonrpc":"2.0","method":1}', "shape"),
    "params are a string": (b'{"jsonrpc":"2.0","method":"m","params":"x"}', "shape"),
    "null request id": (b'{"jsonrpc":"2.0","id":null,"method":"m"}', "id"),
    "list request id": (b'{"jsonrpc":"2.0","id":[1],"method":"m"}', "id"),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_line_that_cannot_be_read_ends_the_connection_and_nothing_after_it_counts(name: str) -> None:
    line, sub = BREAKING[name]
    machine = peer()
    found = events(machine, line + b"\n" + b'{"jsonrpc":"2.0","id":1,"result":{}}\n', b"")
    assert found == [Broken(sub, line)]
    assert machine.state is State.ERROR
    with pytest.raises(OutsideError, match="state `error`"):
        machine.request("m", b"{}")


def test_a_line_longer_than_the_bound_ends_the_connection_even_before_it_ends() -> None:
    exact = b'{"jsonrpc":"2.0","id":1,"result":"%s"}'
    fits = exact % (b"x" * (100 - len(exact) + 2))
    assert len(fits) == 100
    assert isinstance(events(peer(line_bytes_max=100), fits + b"\n")[0], Result)
    longer = fits + b" "
    for pieces in ([longer], [longer + b"\n"], [bytes([byte]) for byte in longer + b"\n"]):
        assert events(peer(line_bytes_max=100), *pieces) == [Broken("line_bytes", fits)]


BIG = b"[" + b"1," * (jsonrpc.UNASKED_BYTES_MAX // 2) + b"1]"
UNASKED = {
    "a notice": b'{"jsonrpc":"2.0","method":"notifications/message","params":%s}' % BIG,
    "a question": b'{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":%s}' % BIG,
    "a question behind its parameters": b'{"params":%s,"jsonrpc":"2.0","id":1,"method":"m"}' % BIG,
    "a question in the words of an answer": b'{"result":1,"method":"m","params":%s,"id":1,"jsonrpc":"2.0" , "x":1}' % BIG,
    "an answer to nothing": b'{"jsonrpc":"2.0","id":3,"result":%s}' % BIG,
    "an answer to another id": b'{"jsonrpc":"2.0","id":"1","result":%s}' % BIG,
    "an answer without an id": b'{"jsonrpc":"2.0","result":%s}' % BIG,
    "an answer with two ids": b'{"jsonrpc":"2.0","id":1,"result":%s,"id":1}' % BIG,
    "an answer with its id inside": b'{"jsonrpc":"2.0","result":[%s,{"id":1}]}' % BIG,
    "an answer with escapes in its names": rb'{"jsonrpc":"2.0","\u0069d":1,"result":%s}' % BIG,
    "an answer behind blanks without end": b'{"jsonrpc":"2.0","result":%s,"id":1' % BIG + b" " * 999 + b"}",
    "a list": b'[{"jsonrpc":"2.0","id":1,"result":1},%s]' % BIG,
    "an object in an object": b'{"a":{"jsonrpc":"2.0","id":1,"result":%s}}' % BIG,
    "brackets": b"[" * len(BIG),
    "noise": b"\xff" * len(BIG),
}


@pytest.mark.parametrize("name", UNASKED)
def test_a_large_message_that_is_no_answer_of_ours_ends_the_connection_unread(name: str) -> None:
    machine = peer(2)
    assert events(machine, UNASKED[name] + b"\n", b'{"jsonrpc":"2.0","id":1,"result":{}}\n') == [
        Broken("unasked_bytes", UNASKED[name])
    ]
    assert machine.state is State.ERROR


def test_a_message_that_is_no_answer_is_read_up_to_its_bound() -> None:
    empty = b'{"jsonrpc":"2.0","method":"m","params":{"a":"%s"}}'
    fits = empty % (b"x" * (jsonrpc.UNASKED_BYTES_MAX - len(empty) + 2))
    assert len(fits) == jsonrpc.UNASKED_BYTES_MAX
    assert one(fits) == Notified("m", fits[len(b'{"jsonrpc":"2.0","method":"m","params":') : -1])
    assert one(fits + b" ") == Broken("unasked_bytes", fits + b" ")


@pytest.mark.parametrize("kind", ["result", "error"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("blank", [b"", b" ", b" \t\r "])
def test_a_large_answer_is_read_in_whatever_order_it_is_written(kind: str, order: tuple[int, ...], blank: bytes) -> None:
    raw = BIG if kind == "result" else b'{"code":7,"message":"","data":[%s]}' % BIG
    parts = ((b'"jsonrpc"', b'"2.0"'), (b'"id"', b"2"), (b'"%s"' % kind.encode(), raw))
    line = (b"," + blank).join(b"%s%s:%s%s%s" % (parts[n][0], blank, blank, parts[n][1], blank) for n in order)
    line = b"%s{%s%s}%s" % (blank, blank, line, blank)
    read = Result(2, raw, late=False) if kind == "result" else Failure(2, 7, raw, late=False)
    assert one(line, 2) == read
    strange = line.replace(b'"%s"' % kind.encode(), b'"either"')
    assert one(strange, 2) == Broken("unasked_bytes", strange)


def test_a_large_answer_is_taken_once_and_also_when_it_is_late() -> None:
    machine = peer()
    machine.abandon(1)
    line = b'{"jsonrpc":"2.0","id":1,"result":%s}' % BIG
    assert events(machine, line + b"\n", line + b"\n") == [Result(1, BIG, late=True), Broken("unasked_bytes", line)]


@pytest.mark.parametrize("raw", [BIG + b",1", BIG + b',"x":1', BIG[:-1], BIG + b"]", b'"' + BIG, b"{" + BIG + b"}"])
def test_a_large_answer_is_still_one_strict_document(raw: bytes) -> None:
    for line in (b'{"jsonrpc":"2.0","id":1,"result":%s}' % raw, b'{"result":%s,"jsonrpc":"2.0","id":1}' % raw):
        assert isinstance(broken := one(line), Broken) and broken.sub in ("json syntax", "shape"), broken


def test_an_end_between_two_lines_is_an_end_and_one_inside_a_line_is_not() -> None:
    assert events(peer(), b"") == [Ended()]
    assert events(peer(), b'{"jsonrpc":"2.0","id":1,"result":{}}', b"") == [
        Broken("cut_off", b'{"jsonrpc":"2.0","id":1,"result":{}}')
    ]


def test_a_question_of_the_other_end_is_answered_with_its_own_id() -> None:
    assert one(b'{"jsonrpc":"2.0","id":"a\\u0041","method":"sampling/createMessage","params":{}}') == Asked(
        b'"a\\u0041"', "sampling/createMessage"
    )
    assert (
        jsonrpc.refuse(b'"a\\u0041"', -32601, "no")
        == b'{"jsonrpc":"2.0","id":"a\\u0041","error":{"code":-32601,"message":"no"}}\n'
    )
    assert jsonrpc.answer(b"7", b"{}") == b'{"jsonrpc":"2.0","id":7,"result":{}}\n'


def test_a_notification_is_an_event_with_a_bounded_name() -> None:
    assert one(b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}') == Notified("notifications/message")
    assert one(b'{"jsonrpc":"2.0","method":"' + b"x" * 999 + b'"}') == Notified("x" * jsonrpc.METHOD_CHARS_MAX)


def test_a_log_line_with_an_event_shows_nothing_of_what_was_sent() -> None:
    canary = b'{"code":1,"message":"canary"}'
    found = [
        one(b'{"jsonrpc":"2.0","id":1,"result":%s}' % canary),
        one(b'{"jsonrpc":"2.0","id":1,"error":%s}' % canary),
        one(canary),
    ]
    assert [type(event) for event in found] == [Result, Failure, Broken]
    assert "canary" not in repr(found)


def test_the_page_says_what_ends_a_connection() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/spec/catalog.md").read_text(encoding="utf-8")
    table = page.partition("| sub-reason | what the server did |")[2]
    for sub in {
        "line_bytes",
        "unasked_bytes",
        "id_conflict",
        "cut_off",
        *(sub.partition(" ")[0] for _, sub in BREAKING.values()),
    }:
        assert f"`{sub}`" in table, sub
    assert f"{jsonrpc.LINE_BYTES_MAX:,} bytes" in table and f"{jsonrpc.UNASKED_BYTES_MAX:,} bytes" in table


LINES = st.sampled_from(
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xc3\xa9 \\n"}}\n',
        b'{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"x"}}\r\n',
        b'{"jsonrpc":"2.0","id":"1","result":{}}\n',
        b'{"jsonrpc":"2.0","id":5,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","method":"n"}\n',
        b'{"jsonrpc":"2.0","id":3,"result":"' + b"x" * 300 + b'"}\n',
        b'{"jsonrpc":"2.0","id":4,',
        b"\n",
        b"[]\n",
    ]
)


@settings(CALM, max_examples=300)
@given(st.lists(LINES, max_size=6), st.lists(st.integers(0, 600), max_size=12), st.booleans())
def test_any_cutting_of_the_same_bytes_gives_the_same_events(lines: list[bytes], cuts: list[int], end: bool) -> None:
    data = b"".join(lines)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    tail = [b""] if end else []
    whole = events(peer(4, line_bytes_max=250), *([data] if data else []), *tail)
    assert events(peer(4, line_bytes_max=250), *pieces, *tail) == whole
    assert events(peer(4, line_bytes_max=250), *(data[i : i + 1] for i in range(len(data))), *tail) == whole
