"""A request is one request, whatever its parts are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.request import HEAD_BYTES_MAX, encode

SECRET = "canary-5d1e"


def test_a_request_is_its_line_its_fields_and_its_body() -> None:
    made = encode("POST", "/a?b=1", "api.example:8443", [("accept", "application/json"), ("x", "a b")], b"{}")
    head = b"POST /a?b=1 HTTP/1.1\r\nhost: api.example:8443\r\naccept: application/json\r\nx: a b\r\ncontent-length: 2\r\n\r\n"
    assert made == head + b"{}"
    assert encode("GET", "/", "[::1]:80", [], None) == b"GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n"


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_nothing_that_a_part_is_made_of_makes_another_line(method: str, target: str, host: str, name: str, value: str) -> None:
    try:
        made = encode(method, "/" + target, host, [(name, value)], None)
    except Refused:
        return
    assert made.split(b"\r\n") == [
        f"{method} /{target} HTTP/1.1".encode(),
        f"host: {host}".encode(),
        f"{name}: {value}".encode(),
        b"",
        b"",
    ]
    assert made.count(b"\r") == made.count(b"\n") == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", f"{SECRET}\r\nevil: 1"), ("x", f"{SECRET}\n"), ("x", f"\r{SECRET}"), ("x", f"{SECRET}\0"), ("x", f" {SECRET}"),
        ("x", ""), ("x", f"{SECRET}\u010a"), ("x", f"{SECRET}\x7f"), ("x", f"{SECRET}\x85"), ("x\r\ny", "1"), ("x ", "1"),
        ("", "1"), ("x:", "1"), ("host", "evil"), ("Host", "evil"), ("content-length", "7"), ("ä", "1"),
    ],
)  # fmt: skip
def test_a_header_that_could_be_read_as_more_is_refused_and_its_value_told_to_nobody(name: str, value: str) -> None:
    with pytest.raises(Refused) as caught:
        encode("POST", "/", "a", [(name, value)], b"")
    assert (caught.value.reason, caught.value.sub) == (Reason.ERR_UPSTREAM_SHAPE, "header")
    assert SECRET not in str(caught.value)


def test_the_head_is_bounded() -> None:
    with pytest.raises(Refused) as caught:
        encode("GET", "/" + "a" * HEAD_BYTES_MAX, "a", [], None)
    assert caught.value.sub == "size"
