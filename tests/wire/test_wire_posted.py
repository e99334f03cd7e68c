"""The answer to one request over HTTP, as JSON or as a stream, however its bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.jsonrpc import LINE_BYTES_MAX, Broken, Dropped, Notified, Peer, Result
from helm_ai_kernel.wire.posted import RETRY_MS, RETRY_MS_MAX, Message, Posted, error_of, is_answer

STREAM = (
    b": hi\nid: 1\nretry: 7\ndata:\n\n"
    b'event: message\ndata: {"jsonrpc":"2.0","method":"m",\ndata: "params":{"a": 1}}\n\n'
    b'event: other\ndata: {"jsonrpc":"2.0","id":7,"result":1}\n\n'
    b'id: 2\ndata: {"jsonrpc":"2.0","id":"7","result":1}\n\n'
    b'data: {"jsonrpc":"2.0","id":7,"result":{"x":1.50}}\n\n'
)
MESSAGES = [Notified("m", b'{"a": 1}'), Dropped(b'"7"'), Result(7, b'{"x":1.50}', late=False)]


def posted() -> Posted:
    peer = Peer(first=7)
    peer.request("m", b"{}")
    return Posted(peer)


def read(kind: str, *pieces: bytes) -> list[Message]:
    made = posted()
    made.begin(kind)
    return [message for piece in (*pieces, b"") for message in made.receive(piece)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=10))
def test_a_stream_gives_the_same_messages_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [piece for a, b in itertools.pairwise(places) if (piece := STREAM[a:b])]
    assert read("text/event-stream; charset=utf-8", *pieces) == MESSAGES


def test_a_stream_gives_the_same_messages_byte_by_byte() -> None:
    assert read("Text/Event-Stream", *(STREAM[i : i + 1] for i in range(len(STREAM)))) == MESSAGES


def test_json_is_one_message_byte_by_byte() -> None:
    body = b'{"jsonrpc":"2.0","id":7,\n"result":{"x":1.50}}'
    assert read("application/json", *(body[i : i + 1] for i in range(len(body)))) == [Result(7, b'{"x":1.50}', late=False)]


def test_a_second_answer_ends_the_exchange() -> None:
    made = posted()
    made.begin("text/event-stream")
    event = b'data: {"jsonrpc":"2.0","id":7,"result":1}\n\n'
    first, second = made.receive(event + event + event)
    assert isinstance(first, Result) and isinstance(second, Broken) and second.sub == "id_conflict"
    assert made.receive(event) == [] and made.answered and not made.resumable


def test_a_stream_that_ended_says_how_to_take_it_up_again() -> None:
    made = posted()
    made.begin("text/event-stream")
    assert not made.resumable and made.retry_ms == RETRY_MS
    made.receive(b"id: a\nretry: 5\ndata:\n\nid: b\ndata:")
    assert (made.resumable, made.last_id, made.retry_ms) == (True, "a", 5)
    made.begin("text/event-stream")  # what was cut off is not continued
    assert made.receive(b'data: {"jsonrpc":"2.0","id":7,"result":1}\n\n') == [Result(7, b"1", late=False)]
    assert made.retry_ms == 5 and not made.resumable


def test_a_time_that_is_too_long_is_shortened() -> None:
    made = posted()
    made.begin("text/event-stream")
    made.receive(b"retry: 999999999\n")
    assert made.retry_ms == RETRY_MS_MAX


def test_what_is_neither_json_nor_a_stream_is_refused() -> None:
    for kind in ("", "text/html", "application/jsonx", "application/json-seq"):
        with pytest.raises(Refused) as refused:
            posted().begin(kind)
        assert refused.value.sub == "content_type"


def test_an_endless_body_is_given_up() -> None:
    made = posted()
    made.begin("application/json")
    (broken,) = made.receive(b" " * (LINE_BYTES_MAX + 1))
    assert isinstance(broken, Broken) and broken.sub == "body_bytes"


def test_a_stream_that_cannot_be_read_is_given_up() -> None:
    (broken,) = read("text/event-stream", b"data: \xff\n\n")
    assert isinstance(broken, Broken) and broken.sub == "sse_encoding"


@pytest.mark.parametrize(
    ("body", "found", "answered"),
    [
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32601, "a":1}}', (-32601, b'{"code":-32601, "a":1}'), False),
        (b'{"error":{"code":5}}', (5, b'{"code":5}'), False),
        (b'{"error":"x"}', None, False),
        (b"", None, False),
        (b"<html>", None, False),
        (b'{"result":1,"error":{"code":5}}', None, True),
        (b'{"result":1}', None, True),
        (b'{"error":{"code":1e999}}', None, False),
    ],
)
def test_the_error_in_a_refusal_is_found_whatever_its_id_is(body: bytes, found: tuple[int, bytes] | None, answered: bool) -> None:
    assert (error_of(body), is_answer(body)) == (found, answered)
