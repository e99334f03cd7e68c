"""What is answered is what was meant, whatever it was built from."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.guardian.reasons import hint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.wire.admission import Admission, names, origins
from helm_ai_kernel.wire.http1 import Head, Wrong
from helm_ai_kernel.wire.reply import LAST_CHUNK, Reply, chunk, head_bytes, refusal
from helm_ai_kernel.wire.status import STATUS

ALWAYS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class Answer:
    """An answer as llhttp reads it."""

    def __init__(self, data: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self.body, self.complete = b"", 0
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(data)
        self.status = parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete += 1


WRONG = [
    "a\r\nSet-Cookie: b",
    "a\nb",
    "a\rb",
    "a\x00b",
    "\r\n\r\n",
    "a\x0bb",
    "a\x7fb",
    "a\x85b",
    "ⓐ",
    "a\u2028b",
    " a",
    "a ",
    "\t",
    "a\tb",
    "č",
]


@pytest.mark.parametrize("value", WRONG)
def test_what_would_be_a_second_line_makes_no_answer(value: str) -> None:
    with pytest.raises(Refused, match="ERR_HTTP_AMBIGUOUS"):
        Reply(200, (("Helm-Session", value),))


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "a\x00", "é", " a", "(a)", "a" * 65])
def test_a_name_that_is_none_makes_no_answer(name: str) -> None:
    with pytest.raises(Refused, match="ERR_HTTP_AMBIGUOUS"):
        Reply(200, ((name, "a"),))


@pytest.mark.parametrize(
    "name", ["Connection", "content-length", "Transfer-Encoding", "UPGRADE", "TE", "Trailer", "Keep-Alive", "Cache-Control"]
)
def test_what_goes_from_hop_to_hop_is_written_by_the_front_alone(name: str) -> None:
    with pytest.raises(ValueError, match="is written by the front"):
        Reply(200, ((name, "a"),))


@pytest.mark.parametrize(
    ("status", "body"), [(100, b""), (101, b""), (199, b""), (600, b""), (204, b"x"), (304, b"x"), (299, b"")]
)
def test_a_status_that_no_answer_has_makes_none(status: int, body: bytes) -> None:
    with pytest.raises(ValueError, match="a reply with status"):
        Reply(status, (), body)


fields = st.lists(st.tuples(st.from_regex(r"X-[A-Za-z0-9-]{0,10}", fullmatch=True), st.text(max_size=20)), max_size=4)


@given(st.sampled_from([200, 403, 404, 503]), fields, st.binary(max_size=100), st.booleans())
def test_every_answer_that_is_made_is_read_back_as_what_it_says(
    status: int, sent: list[tuple[str, str]], body: bytes, keeps: bool
) -> None:
    try:
        reply = Reply(status, tuple(sent), body)
    except Refused:
        return
    read = Answer(head_bytes(reply, keeps_open=keeps, chunked=False) + body)
    ours = {**ALWAYS, "content-length": str(len(body)), "connection": "keep-alive" if keeps else "close"}
    assert (read.status, read.body, read.complete) == (status, body, 1)
    assert sorted(read.fields) == sorted([(name.lower(), value) for name, value in sent] + list(ours.items()))


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_a_stream_in_chunks_is_read_back_whole(pieces: list[bytes]) -> None:
    async def never():
        yield b""

    head = head_bytes(Reply(200, (), never()), keeps_open=True, chunked=True)
    read = Answer(head + b"".join(map(chunk, pieces)) + LAST_CHUNK)
    assert (read.body, read.complete) == (b"".join(pieces), 1)


def test_an_answer_without_a_body_claims_none_and_426_says_what_is_spoken() -> None:
    assert b"Content-Length" not in head_bytes(Reply(204), keeps_open=True, chunked=False)
    assert b"\r\nUpgrade: HTTP/1.1\r\n" in head_bytes(Reply(426), keeps_open=False, chunked=False)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_has_one_form_for_every_reason(reason: Reason) -> None:
    reply = refusal(reason, "a `message`\r\n with \x00 anything ⓐ", hint=hint(reason), fields=(("Retry-After", "1"),))
    said = parse(reply.body, bytes_max=10_000)
    assert reply.status == STATUS[reason] and said["error"]["code"] == said["helm"]["reason"] == reason.value
    assert said["helm"]["hint"] == hint(reason) and said["error"]["type"] == "helm_refused"


# -- who may knock


def head(host: str, **more: str) -> Head:
    return Head("GET", "/", "", host, {"host": host, **more})


def test_the_port_of_the_scheme_may_be_left_out_and_no_other() -> None:
    assert names("127.0.0.1", 80) == {"127.0.0.1", "127.0.0.1:80", "localhost", "localhost:80"}
    assert names("10.0.0.1", 443, ["A.example", "b.example:8443"], tls=True) == {
        "10.0.0.1", "10.0.0.1:443", "a.example", "a.example:443", "b.example:8443",
    }  # fmt: skip
    assert names("[::1]", 443) == {"[::1]:443", "localhost:443"}
    assert origins({"localhost:1"}) == {"http://localhost:1"} and origins({"a"}, tls=True) == {"https://a"}


@given(st.text(st.sampled_from("localhst127.0:89[]@%-_a"), max_size=20))
def test_no_other_host_is_one_of_the_doors(host: str) -> None:
    admission = Admission(names("127.0.0.1", 8790))
    if host not in ("127.0.0.1:8790", "localhost:8790"):
        with pytest.raises(Wrong, match="ERR_HOST_FORBIDDEN"):
            admission.check(head(host))
