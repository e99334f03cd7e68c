"""Events of a stream: the same ones however its bytes are cut, and none that nobody closed."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.sse import TEXT_BYTES_MAX, Event, EventReader

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(*pieces: bytes, event_bytes_max: int = 100) -> tuple[list[Event] | str, str, int | None]:
    """The events, or the word why there are none, and what holds for whoever takes the stream up again."""
    reader, events = EventReader(event_bytes_max=event_bytes_max), []
    try:
        for piece in pieces:
            events += reader.feed(piece)
    except Refused as refused:
        return refused.sub, "", None
    return events, reader.last_id, reader.retry_ms


def model(data: bytes) -> list[Event]:
    """WHATWG HTML §9.2.6, read in one go."""
    text = data.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events, lines, kind, held, last = [], [], "", "", ""
    for line in text.split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last = held
            if lines:
                events.append(Event(kind or "message", "\n".join(lines).encode(), last))
            lines, kind = [], ""
        elif name == "data":
            lines.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            held = value
    return events


CASES = {
    "one": (b"data: {}\n\n", [Event("message", b"{}", "")]),
    "lines": (b"data:a\ndata: b\ndata:  c\n\n", [Event("message", b"a\nb\n c", "")]),
    "a mark at the beginning": (b"\xef\xbb\xbfdata: a\n\n", [Event("message", b"a", "")]),
    "carriage returns": (b"data: a\r\rdata: b\r\n\r\ndata: c\r\n\n", [Event("message", word, "") for word in (b"a", b"b", b"c")]),
    "a type and an id": (b"event: x\nid: 7\ndata: a\n\ndata: b\n\n", [Event("x", b"a", "7"), Event("message", b"b", "7")]),
    "a comment": (b": hello\n\n:\ndata: a\n\n", [Event("message", b"a", "")]),
    "no data": (b"event: x\n\ndata\n\n", [Event("message", b"", "")]),
    "a field that nobody knows": (b"x: y\ndata: a\n\n", [Event("message", b"a", "")]),
    "nobody closed it": (b"data: a\n\ndata: b\n", [Event("message", b"a", "")]),
    "an id with a zero": (b"id: a\n\nid: b\0\ndata: x\n\n", [Event("message", b"x", "a")]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_read_as_the_standard_says_cut_at_every_byte(name: str) -> None:
    data, events = CASES[name]
    assert model(data) == events
    assert read(data)[0] == events
    assert read(*(data[i : i + 1] for i in range(len(data))))[0] == events
    for cut in range(len(data) + 1):
        assert read(data[:cut], data[cut:])[0] == events


LINES = st.sampled_from(
    [
        "data: a",
        "data:b",
        "data",
        "data:  ü",
        ":",
        ": x",
        "event: e",
        "event",
        "id: 1",
        "id",
        "id: \0",
        "retry: 5",
        "x",
        "",
        "",
        "",
    ]
)


@CALM
@given(st.booleans(), st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"])), max_size=12), st.data())
def test_any_stream_is_read_as_the_model_reads_it_however_it_is_cut(
    mark: bool, lines: list[tuple[str, str]], data: st.DataObject
) -> None:
    whole = ("\ufeff" if mark else "").encode() + "".join(line + end for line, end in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    assert read(*pieces) == read(whole)
    assert read(*(whole[i : i + 1] for i in range(len(whole)))) == read(whole)
    if not whole.endswith(b"\r"):  # the model cannot know whether an LF follows
        assert read(whole)[0] == model(whole)


@pytest.mark.parametrize(
    ("field", "ms"), [(b"5", 5), (b" 100", 100), (b"-1", None), (b"1e3", None), (b"", None), (b"9" * 10, None)]
)
def test_a_time_to_come_back_is_digits(field: bytes, ms: int | None) -> None:
    assert read(b"retry:" + field + b"\n")[2] == ms


def test_an_id_holds_from_the_end_of_its_event_on() -> None:
    assert read(b"id: a\n")[1] == "" and read(b"id: a\n\n")[1] == "a"


BAD = {
    "an event without an end": (b"data: " + b"x" * 60 + b"\ndata: " + b"x" * 60, "sse_event_bytes"),
    "a line without an end": (b"x" * 165, "sse_line_bytes"),
    "a long line": (b"x" * 165 + b"\n", "sse_line_bytes"),
    "a long id": (b"id: " + b"x" * (TEXT_BYTES_MAX + 1) + b"\n", "sse_field_bytes"),
    "no text": (b"data: \xff\n\n", "sse_encoding"),
    "a surrogate": (b"data: \xed\xa0\x80\n\n", "sse_encoding"),
    "no text in an id": (b"id: \xff\n\n", "sse_encoding"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_stream_is_refused_for_ever(name: str) -> None:
    data, sub = BAD[name]
    bound = 2000 if sub == "sse_field_bytes" else 100
    assert read(data + b"\n", event_bytes_max=bound)[0] == sub
    assert read(*((data + b"\n")[i : i + 1] for i in range(len(data) + 1)), event_bytes_max=bound)[0] == sub
    reader = EventReader(event_bytes_max=bound)
    with pytest.raises(Refused):
        reader.feed(data + b"\n")
    with pytest.raises(Refused, match="no stream of events"):
        reader.feed(b"data: a\n\n")


def test_an_event_may_be_as_large_as_its_bound() -> None:
    assert read(b"data: " + b"x" * 100 + b"\n\n")[0] == [Event("message", b"x" * 100, "")]
    assert read(b"data: " + b"x" * 101 + b"\n\n")[0] == "sse_event_bytes"
