"""`docs/spec/http.md` says what the front does: its examples, its bounds, its refusals."""

import re
from pathlib import Path

import pytest

from helm_ai_kernel.net.door import Bounds, shaped
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.head import METHODS, WITH_BODY, Sizes
from helm_ai_kernel.wire.http1 import END, Head, Reader, Wrong
from wire.test_wire_http1 import BAD

PAGE = (Path(__file__).resolve().parents[2] / "docs/spec/http.md").read_text(encoding="utf-8")
REQUEST = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]


def cells(header: str) -> list[list[str]]:
    lines = PAGE.partition(f"| {header} |")[2].splitlines()[2:]
    table = lines[: next(n for n, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table]


def sent(text: str) -> bytes:
    head, blank, body = text.rstrip("\n").replace("…", "...").encode("ascii").partition(b"\n\n")
    return head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body if blank else head


def test_the_request_of_the_page_is_read() -> None:
    reader = Reader(Sizes())
    reader.receive(sent(REQUEST))
    head, body = reader.next(), reader.next()
    assert isinstance(head, Head) and (head.method, head.path) == ("POST", "/mcp/v1/execute")
    assert body == sent(REQUEST).partition(b"\r\n\r\n")[2] and reader.next() is END and reader.held == 0


def test_the_refusal_of_the_page_is_what_is_answered() -> None:
    said = re.search(r"^```json\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    length = Wrong(Reason.ERR_HTTP_AMBIGUOUS, "the field `content-length` stands twice")
    assert said is not None and said[1].encode() == shaped(length).body


def test_the_refusals_of_the_page_are_all_that_there_are() -> None:
    table = {(code, int(status)) for _, code, status in cells("what | code | status")}
    elsewhere = {
        ("ERR_HOST_FORBIDDEN", 421),
        ("ERR_ORIGIN_FORBIDDEN", 403),
        ("ERR_REQUEST_BOUNDS", 408),
        ("ERR_REQUEST_BOUNDS", 503),
    }
    assert table == {(code, status) for _, (status, code) in BAD.values()} | elsewhere


def test_the_methods_of_the_page_are_those_that_are_read() -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("- The first line"))
    assert set(re.findall(r"`([A-Z]+)`", line)) == METHODS
    assert "Only `POST`, `PUT` and `PATCH` have one." in PAGE and {"POST", "PUT", "PATCH"} == WITH_BODY


@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("the first line", Sizes().line),
        ("the header, with the first line", Sizes().head),
        ("fields", Sizes().fields),
        ("a body", Sizes().body),
    ],
)
def test_a_size_of_the_page_is_the_default(what: str, size: int) -> None:
    number, _, unit = dict(cells("what | bound"))[what].partition(" ")
    assert int(number) * {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit] == size


def test_the_other_bounds_of_the_page_are_the_defaults() -> None:
    bounds, table = Bounds(), [bound for _, bound in cells("what | bound")]
    times = [bounds.head_s, bounds.idle_s, bounds.write_s]
    assert [f"{seconds:.0f} s" for seconds in times] == [table[5], table[7], table[8]]
    assert table[4] == str(bounds.sizes.chunks)
    assert (
        table[6]
        == f"{bounds.body_s:.0f} s, and at least {bounds.body_rate} bytes a second behind the first {bounds.head_s:.0f} s"
    )
    assert table[9:] == [
        f"{bounds.linger_bytes >> 20} MiB, {bounds.linger_s:.0f} s",
        str(bounds.connections),
        str(bounds.peer_connections),
        f"{bounds.held_bytes >> 20} MiB",
    ]
