"""One meaning or none: what the reader accepts other readers understand in the same way, however it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.http1 import END, Head, Reader, Sizes, Wrong
from wire import requests
from wire.requests import HOST, SMALL, by_h11, by_llhttp, by_standard_library, chunked, cut, post, read

AMBIGUOUS = (400, Reason.ERR_HTTP_AMBIGUOUS.value)
UNMEDIATED = (501, Reason.ERR_UNMEDIATED_TRANSPORT.value)
BOUNDS = Reason.ERR_REQUEST_BOUNDS.value
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"

GOOD = {
    "get": b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "get with a query": b"GET /v1/receipts?after=1&limit=%20x?y HTTP/1.1\r\n" + HOST + b"Accept: */*\r\n\r\n",
    "get of no body": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    "post": post(b"Content-Length: 4", body=b"body"),
    "post of nothing": post(b"Content-Length: 0"),
    "post without a length": post(),
    "chunked": chunked(b"4\r\nbody\r\n1\r\n!\r\n0\r\n\r\n"),
    "chunked, long sizes": chunked(b"0004\r\nbody\r\n0000\r\n\r\n"),
    "chunked, upper case": post(b"TRANSFER-ENCODING: CHUNKED", body=b"A\r\n0123456789\r\n0\r\n\r\n"),
    "blanks around values": post(b"Content-Length:\t 4 \t ", b"X:", b"Y: \t", b"Z: a \t b", body=b"body"),
    "kept open": post(b"Connection: Keep-Alive", b"Content-Length: 1", body=b"x"),
    "one after the other": post(b"Content-Length: 4", body=b"body") + SMUGGLED,
    "a chunked one before the other": chunked(b"1\r\nx\r\n0\r\n\r\n") + post(b"Content-Length: 1", body=b"y"),
    "expects": post(b"Expect: 100-continue", b"Content-Length: 1", body=b"x"),
    "identity": post(b"Content-Encoding: identity", b"Content-Length: 1", body=b"x"),
    "an address of six": b"DELETE /a HTTP/1.1\r\nHost: [::1]:8790\r\n\r\n",
}

# The rows of the smuggling table, and what else two readers understand differently: what is sent, how it ends.
BAD = {
    "length and coding": (post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "coding and length": (post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n"), AMBIGUOUS),
    "two codings": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "two codings, one hidden": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", body=b"0\r\n\r\n"), AMBIGUOUS),
    "two codings in a list": (post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "an identity coding": (post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), AMBIGUOUS),
    "gzip and chunked": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "a folded coding": (post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "a folded tail": (post(b"X: a", b"\tTransfer-Encoding: chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "a blank before the colon": (post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "xchunked": (post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "a vertical tab": (post(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "a vertical tab in the name": (post(b"Transfer-Encoding\x0b: chunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "a form feed": (post(b"Transfer-Encoding: \x0cchunked", body=b"0\r\n\r\n"), AMBIGUOUS),
    "a quoted coding": (post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), AMBIGUOUS),
    "a coding with a parameter": (post(b"Transfer-Encoding: chunked;x", body=b"0\r\n\r\n"), AMBIGUOUS),
    "an empty coding": (post(b"Transfer-Encoding:", body=b"0\r\n\r\n"), AMBIGUOUS),
    "two lengths": (post(b"Content-Length: 4", b"Content-Length: 4", body=b"body"), AMBIGUOUS),
    "two other lengths": (post(b"Content-Length: 4", b"Content-Length: 5", body=b"body"), AMBIGUOUS),
    "two lengths in a list": (post(b"Content-Length: 4, 4", body=b"body"), AMBIGUOUS),
    "length +3": (post(b"Content-Length: +3", body=b"abc"), AMBIGUOUS),
    "length 0_3": (post(b"Content-Length: 0_3", body=b"abc"), AMBIGUOUS),
    "length 0x3": (post(b"Content-Length: 0x3", body=b"abc"), AMBIGUOUS),
    "length -1": (post(b"Content-Length: -1", body=b"abc"), AMBIGUOUS),
    "length 03": (post(b"Content-Length: 03", body=b"abc"), AMBIGUOUS),
    "length 3 3": (post(b"Content-Length: 3 3", body=b"abc"), AMBIGUOUS),
    "no length": (post(b"Content-Length:", body=b"abc"), AMBIGUOUS),
    "a length beyond all": (post(b"Content-Length: 99999999999999999999", body=b"abc"), AMBIGUOUS),
    "chunk size +3": (chunked(b"+3\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "chunk size 0_3": (chunked(b"0_3\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "chunk size 0x3": (chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "chunk size -1": (chunked(b"-1\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "an empty chunk size": (chunked(b"\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "a chunk size of many digits": (chunked(b"000000003\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "a blank behind a chunk size": (chunked(b"3 \r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "a bare LF behind a chunk size": (chunked(b"3\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "a chunk extension": (chunked(b"3;a=b\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "a bare LF in a chunk extension": (chunked(b"3;a\nb\r\nabc\r\n0\r\n\r\n"), AMBIGUOUS),
    "an extension of the last chunk": (chunked(b"0;a=b\r\n\r\n"), AMBIGUOUS),
    "a bad end of a chunk": (chunked(b"3\r\nabcXX0\r\n\r\n"), AMBIGUOUS),
    "a longer chunk than it says": (chunked(b"3\r\nabcd\r\n0\r\n\r\n"), AMBIGUOUS),
    "a bare LF behind a chunk": (chunked(b"3\r\nabc\n0\r\n\r\n"), AMBIGUOUS),
    "a bare CR behind a chunk": (chunked(b"3\r\nabc\r0\r\n\r\n"), AMBIGUOUS),
    "a trailer": (chunked(b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"), AMBIGUOUS),
    "a trailer that is a length": (chunked(b"0\r\nContent-Length: 3\r\n\r\n"), AMBIGUOUS),
    "a bare LF behind the last chunk": (chunked(b"0\r\n\n"), AMBIGUOUS),
    "a bare LF behind the line": (post(line=b"POST /a HTTP/1.1\nX: y"), AMBIGUOUS),
    "a bare LF behind a field": (post(b"X: y\nContent-Length: 4", body=b"body"), AMBIGUOUS),
    "a bare LF at the end": (b"GET / HTTP/1.1\r\n" + HOST + b"\n" + SMUGGLED, AMBIGUOUS),
    "bare LFs alone": (b"GET / HTTP/1.1\nHost: 127.0.0.1:8790\n\n", AMBIGUOUS),
    "a bare CR in a field": (post(b"X: y\rContent-Length: 4", body=b"body"), AMBIGUOUS),
    "a bare CR behind the line": (b"GET / HTTP/1.1\rX: y\r\n" + HOST + b"\r\n", AMBIGUOUS),
    "CR CR LF": (post(b"X: y\r"), AMBIGUOUS),
    "NUL in a value": (post(b"X: a\x00b"), AMBIGUOUS),
    "NUL in a name": (post(b"X\x00: a"), AMBIGUOUS),
    "NUL in the path": (post(line=b"POST /a\x00 HTTP/1.1"), AMBIGUOUS),
    "a name that is no token": (post(b"X(y): a"), AMBIGUOUS),
    "no name": (post(b": a"), AMBIGUOUS),
    "no colon": (post(b"X"), AMBIGUOUS),
    "a value beyond ASCII": (post(b"X: \xe9"), AMBIGUOUS),
    "a name beyond ASCII": (post(b"X\xe9: a"), AMBIGUOUS),
    "a blank first line": (b"\r\n" + post(), AMBIGUOUS),
    "a blank before the first field": (post(line=b"POST /a HTTP/1.1\r\n X: y"), AMBIGUOUS),
    "HTTP/1.0": (post(line=b"POST /a HTTP/1.0"), AMBIGUOUS),
    "HTTP/1.0 with a coding": (post(b"Transfer-Encoding: chunked", line=b"POST /a HTTP/1.0", body=b"0\r\n\r\n"), AMBIGUOUS),
    "HTTP/0.9": (b"GET /\r\n\r\n", AMBIGUOUS),
    "HTTP/1.2": (post(line=b"POST /a HTTP/1.2"), AMBIGUOUS),
    "HTTP/1.10": (post(line=b"POST /a HTTP/1.10"), AMBIGUOUS),
    "http/1.1": (post(line=b"POST /a http/1.1"), AMBIGUOUS),
    "two blanks": (post(line=b"POST  /a HTTP/1.1"), AMBIGUOUS),
    "a tab": (post(line=b"POST\t/a HTTP/1.1"), AMBIGUOUS),
    "a blank in the path": (post(line=b"POST /a b HTTP/1.1"), AMBIGUOUS),
    "a blank behind the version": (post(line=b"POST /a HTTP/1.1 "), AMBIGUOUS),
    "a method in lower case": (post(line=b"post /a HTTP/1.1"), AMBIGUOUS),
    "a method in mixed case": (post(line=b"Post /a HTTP/1.1"), AMBIGUOUS),
    "an absolute target": (post(line=b"POST http://127.0.0.1:8790/a HTTP/1.1"), AMBIGUOUS),
    "an authority as target": (post(line=b"POST 127.0.0.1:8790 HTTP/1.1"), AMBIGUOUS),
    "an asterisk as target": (post(line=b"OPTIONS * HTTP/1.1"), AMBIGUOUS),
    "a target that begins with //": (post(line=b"POST //evil.com/a HTTP/1.1"), AMBIGUOUS),
    "a fragment": (post(line=b"POST /a#b HTTP/1.1"), AMBIGUOUS),
    "a backslash": (post(line=b"POST /a\\b HTTP/1.1"), AMBIGUOUS),
    "a path beyond ASCII": (post(line=b"POST /\xc3\xa9 HTTP/1.1"), AMBIGUOUS),
    "userinfo in the host": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8790@evil.com\r\n\r\n", AMBIGUOUS),
    "a path in the host": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8790/a\r\n\r\n", AMBIGUOUS),
    "two names in the host": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", AMBIGUOUS),
    "an empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", AMBIGUOUS),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", AMBIGUOUS),
    "two hosts": (post(b"Host: 127.0.0.1:8790"), AMBIGUOUS),
    "a field that stands twice": (post(b"Authorization: a", b"authorization: b"), AMBIGUOUS),
    "a body of a GET": (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody", AMBIGUOUS),
    "a chunked body of a DELETE": (b"DELETE / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", AMBIGUOUS),
    "a connection that takes a field away": (post(b"Connection: close, Authorization", b"Authorization: a"), AMBIGUOUS),
    "something else that is expected": (post(b"Expect: 200-ok"), (417, "ERR_HTTP_AMBIGUOUS")),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", AMBIGUOUS),
    "gzip": (post(b"Content-Encoding: gzip", b"Content-Length: 4", body=b"body"), (415, "ERR_BODY_ENCODING")),
    "gzip, identity": (post(b"Content-Encoding: gzip, identity"), (415, "ERR_BODY_ENCODING")),
    "WebSocket": (
        post(b"Connection: Upgrade", b"Upgrade: websocket", line=b"GET /a HTTP/1.1"),
        (426, "ERR_UNMEDIATED_TRANSPORT"),
    ),
    "WebSocket, in a list": (post(b"Upgrade: foo, WebSocket", line=b"GET /a HTTP/1.1"), (426, "ERR_UNMEDIATED_TRANSPORT")),
    "h2c": (post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"), UNMEDIATED),
    "h2c settings alone": (post(b"HTTP2-Settings: x"), UNMEDIATED),
    "Upgrade without Connection": (post(b"Upgrade: h2c"), UNMEDIATED),
    "Connection: upgrade alone": (post(b"Connection: upgrade"), UNMEDIATED),
    "Connection: upgrade and a field": (post(b"Connection: Upgrade, X-Helm-Session"), UNMEDIATED),
    "an upgrade with a body": (post(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 4", body=b"body"), UNMEDIATED),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UNMEDIATED),
    "HTTP/2 in a line": (post(line=b"GET /a HTTP/2.0"), UNMEDIATED),
    "CONNECT": (post(line=b"CONNECT 127.0.0.1:22 HTTP/1.1"), UNMEDIATED),
    "TRACE": (post(line=b"TRACE /a HTTP/1.1"), UNMEDIATED),
    "a method that nobody has": (post(line=b"HELM /a HTTP/1.1"), UNMEDIATED),
    "a long line": (post(line=b"GET /" + b"a" * 200 + b" HTTP/1.1"), (414, BOUNDS)),
    "a line without end": (b"GET /" + b"a" * 300, (414, BOUNDS)),
    "a large header": (post(b"X: " + b"a" * 1000), (431, BOUNDS)),
    "a header without end": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1000, (431, BOUNDS)),
    "many fields": (post(*(b"X%d: y" % n for n in range(10))), (431, BOUNDS)),
    "a large body": (post(b"Content-Length: 1001"), (413, BOUNDS)),
    "a large chunk": (chunked(b"3e9\r\n"), (413, BOUNDS)),
    "a large body in chunks": (chunked(b"190\r\n" + b"x" * 400 + b"\r\n190\r\n" + b"x" * 400 + b"\r\n190\r\n"), (413, BOUNDS)),
    "many chunks": (chunked(b"1\r\nx\r\n" * 21), (413, BOUNDS)),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_request_is_the_same_however_it_is_cut(name: str) -> None:
    whole = read([GOOD[name]])
    assert whole.wrong is None and len(whole.requests) == (2 if " the other" in name else 1)
    for parts in cut(GOOD[name]):
        assert read(parts) == whole, parts


@pytest.mark.parametrize("name", BAD)
def test_what_has_more_than_one_meaning_is_refused_in_the_same_way_however_it_is_cut(name: str) -> None:
    data, verdict = BAD[name]
    whole = read([data + SMUGGLED])
    assert (whole.requests, whole.verdict) == ((), verdict)
    for parts in cut(data + SMUGGLED):
        assert read(parts) == whole, parts


@pytest.mark.parametrize("name", [name for name in BAD if BAD[name][1][1] != BOUNDS])
def test_a_bad_request_behind_a_good_one_takes_nothing_of_it_along(name: str) -> None:
    assert read([GOOD["post"] + BAD[name][0]])[:1] == read([GOOD["post"]])[:1]


def test_the_connection_of_a_refused_request_is_dead() -> None:
    reader = Reader(SMALL)
    reader.receive(BAD["a field that stands twice"][0])
    for _ in range(2):
        with pytest.raises(Wrong, match="`authorization` stands twice"):
            reader.next()
        reader.receive(SMUGGLED)


def test_a_head_comes_before_its_body_and_the_next_request_when_it_is_asked_for() -> None:
    reader = Reader(SMALL)
    reader.receive(GOOD["post"][:-4])
    head = reader.next()
    assert isinstance(head, Head) and (head.method, head.path, head.query, head.host) == ("POST", "/a", "", "127.0.0.1:8790")
    assert reader.next() is None and reader.held == 0
    reader.receive(b"body" + SMUGGLED)
    assert [reader.next(), reader.next(), reader.next(), reader.next()] == [b"body", END, None, None]
    assert reader.held == len(SMUGGLED)
    reader.again()
    head = reader.next()
    assert isinstance(head, Head) and head.path == "/smuggled" and reader.held == 0


@pytest.mark.parametrize(("field", "keeps"), [(b"X: y", True), (b"Connection: keep-alive", True), (b"Connection: Close", False)])
def test_a_connection_is_kept_open_unless_the_request_says_close(field: bytes, keeps: bool) -> None:
    reader = Reader(SMALL)
    reader.receive(post(field))
    assert isinstance(reader.next(), Head) and reader.keeps_open is keeps


def test_the_largest_request_is_read_and_one_more_of_anything_is_not() -> None:
    line = b"GET /" + b"a" * (SMALL.line - len(b"GET / HTTP/1.1\r\n")) + b" HTTP/1.1"
    assert read([post(line=line)]).wrong is None and read([post(line=line[:5] + b"a" + line[5:])]).wrong
    filler = SMALL.head - len(post(b"X: "))
    assert read([post(b"X: " + b"a" * filler)]).wrong is None and read([post(b"X: " + b"a" * (filler + 1))]).wrong
    assert read([post(*(b"X%d: y" % n for n in range(SMALL.fields - 1)))]).wrong is None
    assert read([post(b"Content-Length: 1000", body=b"x" * 1000)]).wrong is None
    assert read([chunked(b"1\r\nx\r\n" * (SMALL.chunks - 1) + b"0\r\n\r\n")]).wrong is None


@pytest.mark.parametrize("filler", [b" ", b"\t", b" \t", b":", b"a", b"a ", b"a:", b"\r\nX: ", b"\r\nX:  \t", b"%", b"/", b"\r"])
@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX:", b"GET / HTTP/1.1\r\nX", b"GET /", b"GET / HTTP/1.1\r\nHost:", b"G"])
def test_no_head_costs_more_than_reading_it(start: bytes, filler: bytes) -> None:
    """Whoever can connect can send one: nothing else happens before the `Host` is looked at. A pattern that backtracks hangs."""
    sizes = Sizes(line=1 << 20, head=1 << 20)
    assert read([(start + filler * sizes.head)[: sizes.head] + b"\x01\r\n\r\n"], sizes).wrong


# -- the same meaning for every reader

names = st.sampled_from([b"X-A", b"Accept", b"User-Agent", b"a1!#$%&'*+-.^_`|~"])
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.encode)
paths = st.text(st.sampled_from("abz019-._~!$&'()*+,;=:@%/?"), max_size=20).filter(lambda text: not text.startswith("/"))
bodies = st.binary(max_size=60)


@st.composite
def sent(draw: st.DrawFn) -> bytes:
    """A request as a client of whatever make would write it."""
    fields = [HOST.removesuffix(b"\r\n")]
    for name, value in draw(st.dictionaries(names, values, max_size=3)).items():
        fields.append(name + draw(st.sampled_from([b":", b": ", b":\t "])) + value + draw(st.sampled_from([b"", b" ", b"\t"])))
    method, body = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"])), b""
    if method in (b"POST", b"PUT"):
        body = draw(bodies)
        if draw(st.booleans()):
            fields.append(b"Content-Length: %d" % len(body))
        else:
            fields.append(b"Transfer-Encoding: chunked")
            size = draw(st.integers(4, 40))
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    fields = draw(st.permutations(fields))
    return b"\r\n".join([method + b" /" + draw(paths).encode() + b" HTTP/1.1", *fields, b"", body])


@given(sent(), sent(), st.data())
def test_what_clients_write_is_read_as_other_readers_do(one: bytes, two: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(one + two)))
    ours = read([(one + two)[:at], (one + two)[at:]])
    assert ours.wrong is None and len(ours.requests) == 2
    agreed(one + two)


# What breaks framing, put in, put twice or put in the place of something.
ODD = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\x0b",
    b"\x00",
    b":",
    b",",
    b";",
    b"\xa0",
    b"\x85",
    b"_",
    b"+",
    b"0",
    b"0\r\n\r\n",
]
ODD += [
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"Host: b\r\n",
    b"\r\nX: ",
    b"HTTP/1.0",
]
ODD += [b"chunked", b"identity", b"x", b"3", b"Connection: close\r\n", b"Expect: 100-continue\r\n", SMUGGLED]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.one_of(st.sampled_from([*GOOD.values(), *(data for data, _ in BAD.values() if len(data) < 400)]), sent()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["put in", "put in the place of", "taken out", "doubled"]))
        end = draw(st.integers(at, min(len(data), at + 12)))
        what = {"put in": draw(st.sampled_from(ODD)) + data[at:end], "put in the place of": draw(st.sampled_from(ODD))}
        data = data[:at] + what.get(kind, data[at:end] * 2 if kind == "doubled" else b"") + data[end:]
    return data + (SMUGGLED if draw(st.booleans()) else b"")


@given(mutated())
def test_a_mutated_request_is_refused_or_means_the_same_to_every_reader(data: bytes) -> None:
    agreed(data)
    assert read([data]) == read(tuple(data[at : at + 1] for at in range(len(data))))


def agreed(data: bytes) -> None:
    """All that we read out of these bytes other readers do, request by request; where we read one they see no two."""
    ours = read([data])
    taken = list(ours.requests)
    theirs, _ = by_llhttp(data)
    assert theirs[: len(taken)] == taken
    if taken and not any(name == "transfer-encoding" for name, _ in taken[0].fields):
        assert by_standard_library(data) == taken[0]
    if requests.h11 is not None:
        theirs, _ = by_h11(data)
        taken = taken[: next((n for n, one in enumerate(taken, 1) if ("connection", "close") in lowered(one)), len(taken))]
        assert [sorted_fields(one) for one in theirs[: len(taken)]] == [sorted_fields(one) for one in taken]
    if ours.wrong is None and ours.requests:
        assert len(theirs) == len(ours.requests)


def lowered(request: requests.Request) -> set[tuple[str, str]]:
    return {(name, value.lower()) for name, value in request.fields}


def sorted_fields(request: requests.Request) -> requests.Request:
    """h11 writes the value of the coding in lower case."""
    fields = ((name, value.lower() if name == "transfer-encoding" else value) for name, value in request.fields)
    return request._replace(fields=tuple(sorted(fields)))
