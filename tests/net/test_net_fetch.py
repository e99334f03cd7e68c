"""A place that somebody else named is asked only where it is of an allowed kind, and its answer leads nowhere."""

import asyncio
from collections.abc import Sequence

import pytest

from helm_ai_kernel.net.fetch import BYTES_MAX, Fetcher
from helm_ai_kernel.net.resolver import NotSent, Resolver
from helm_ai_kernel.pep.address import AddressClass
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from net.loopback import answer, loopback

HERE = frozenset({AddressClass.LOOPBACK, AddressClass.GLOBAL})
ABROAD = frozenset({AddressClass.GLOBAL})


def says(*addresses: str) -> Resolver:
    def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    return Resolver(lookup)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00:ec2::254]/",
        "https://10.0.0.5/keys",
        "https://127.0.0.1/keys",
        "https://[::ffff:127.0.0.1]/keys",
        "https://2130706433/keys",
        "https://127.1/keys",
        "https://as.example:22/keys",
        "http://127.0.0.1:8080/keys",  # loopback was not allowed
        "http://as.example/keys",
        "file:///etc/passwd",
        "gopher://as.example/",
        "https://user:pass@as.example/",
    ],
)
def test_a_url_that_leads_inside_is_not_asked(url: str) -> None:
    with pytest.raises(Refused):
        asyncio.run(Fetcher(ABROAD).ask("GET", url))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "64:ff9b::a9fe:a9fe"])
def test_a_name_that_is_inside_is_not_asked(address: str) -> None:
    with pytest.raises(Refused) as refused:
        asyncio.run(Fetcher(ABROAD, resolver=says("93.184.216.34", address)).ask("GET", "https://as.example/keys"))
    assert refused.value.reason is Reason.ERR_EGRESS_DENIED


def test_without_tls_a_name_that_is_not_on_this_machine_is_not_asked_even_where_it_is_called_so() -> None:
    with pytest.raises(Refused) as refused:
        asyncio.run(Fetcher(HERE, resolver=says("93.184.216.34")).ask("GET", "http://localhost:9/keys"))
    assert refused.value.reason is Reason.ERR_EGRESS_DENIED


def test_a_redirect_is_an_answer() -> None:
    async def main() -> None:
        moved = answer(b"", b"Location: http://169.254.169.254/", status=b"302 Found")
        async with loopback(moved) as server:
            found = await Fetcher(HERE).ask("GET", f"http://127.0.0.1:{server.port}/a?b=c")
            assert (found.status, found.location) == (302, "http://169.254.169.254/")
            assert len(server.requests) == 1 and server.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")

    asyncio.run(main())


def test_the_first_document_that_is_there_counts() -> None:
    async def main() -> None:
        page = answer(b"<html>", kind=b"text/html")
        async with loopback(
            answer(status=b"404 Not Found"), page, answer(b"", status=b"302 Found"), answer(b'{"a":1}'), answer(b'{"a":2}')
        ) as server:
            places = [f"http://127.0.0.1:{server.port}/{n}" for n in range(5)]
            assert await Fetcher(HERE).first(places) == b'{"a":1}'
            assert len(server.requests) == 4

    asyncio.run(main())


def test_a_place_that_fails_ends_the_search() -> None:
    async def main() -> None:
        async with loopback(answer(b"", status=b"500 Internal Server Error")) as server:
            with pytest.raises(NotSent):
                await Fetcher(HERE).first([f"http://127.0.0.1:{server.port}/{n}" for n in range(3)])
            assert len(server.requests) == 1

    asyncio.run(main())


@pytest.mark.parametrize("sent", [answer(b"x" * (BYTES_MAX + 1)), b"HTTP/1.1 200 OK\r\n\r\n", None])
def test_an_answer_without_an_end_is_none(sent: bytes | None) -> None:
    async def main() -> None:
        async with loopback(sent) as server:
            with pytest.raises(Refused):
                await Fetcher(HERE, within_s=0.3).ask("GET", f"http://127.0.0.1:{server.port}/")

    asyncio.run(main())
