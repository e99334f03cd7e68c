"""Which addresses come out of a name: one denied answer denies it, and what was vetted is what is connected to (faults 9.16)."""

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.net import resolver
from helm_ai_kernel.net.resolver import ADDRESSES_MAX, NotSent, Resolver, check_peer, system
from helm_ai_kernel.pep.address import AddressClass
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

GLOBAL = frozenset({AddressClass.GLOBAL})
LOOPBACK = frozenset({AddressClass.LOOPBACK})


def resolve(*answers: str, allowed: frozenset[AddressClass] = GLOBAL, host: str = "api.example") -> tuple[str, ...]:
    return asyncio.run(Resolver(lambda *_: answers).resolve(host, 443, allowed))


@pytest.mark.parametrize(
    ("answers", "sub"),
    [
        (["8.8.8.8", "10.0.0.1"], "private"), (["10.0.0.1", "8.8.8.8"], "private"), (["8.8.8.8", "::1"], "loopback"),
        (["fc00::1"], "private"), (["169.254.169.254"], "metadata"), (["8.8.8.8", "::ffff:169.254.169.254"], "metadata"),
        (["64:ff9b::7f00:1"], "loopback"), (["0.0.0.0"], "unspecified"), (["fe80::1%eth0"], "address"),
        (["8.8.8.8", "fe80::1%"], "address"), (["not an address"], "address"), (["127.0.0.1"], "loopback"),
        (["100.64.0.1"], "shared"), (["224.0.0.1"], "multicast"),
    ],
)  # fmt: skip
def test_one_denied_address_among_the_answers_denies_the_name(answers: list[str], sub: str) -> None:
    with pytest.raises(Refused) as caught:
        resolve(*answers)
    assert (caught.value.reason, caught.value.sub) == (Reason.ERR_EGRESS_DENIED, sub)


@given(st.lists(st.sampled_from(["8.8.8.8", "1.1.1.1", "2606:4700::1111", "9.9.9.9"]), min_size=1))
def test_what_comes_out_is_what_was_answered_each_once_and_in_order(answers: list[str]) -> None:
    assert resolve(*answers) == tuple(dict.fromkeys(answers))


def test_the_rest_of_a_long_answer_is_judged_and_not_dialled() -> None:
    many = [f"8.8.8.{n}" for n in range(100)]
    assert resolve(*many) == tuple(many[:ADDRESSES_MAX])
    with pytest.raises(Refused, match="ERR_EGRESS_DENIED"):
        resolve(*many, "127.0.0.1")


def test_an_address_is_asked_of_nobody() -> None:
    def never(host: str, port: int) -> Sequence[str]:
        raise AssertionError(host)

    assert asyncio.run(Resolver(never).resolve("127.0.0.1", 80, LOOPBACK)) == ("127.0.0.1",)
    with pytest.raises(Refused, match="loopback"):
        asyncio.run(Resolver(never).resolve("::1", 80, GLOBAL))


def test_a_name_without_an_answer_is_told() -> None:
    def missing(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for lookup in (missing, lambda *_: []):
        with pytest.raises(NotSent) as caught:
            asyncio.run(Resolver(lookup).resolve("api.example", 443, GLOBAL))
        assert (caught.value.reason, caught.value.sub) == (Reason.ERR_CONNECTOR_FAILED, "name")


def test_a_resolver_that_hangs_costs_a_bounded_time_and_a_bounded_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOKUPS_MAX", 2)
    release, asked = threading.Event(), []

    def hangs(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        release.wait(60)
        return ["8.8.8.8"]

    async def main() -> None:
        slow = Resolver(hangs, within_s=0.05)
        for cause in ("within", "within", "hang already"):
            with pytest.raises(NotSent, match=cause):
                await slow.resolve("api.example", 443, GLOBAL)

    asyncio.run(main())
    assert asked == ["api.example"] * 2
    release.set()  # what comes now comes to a loop that is closed


def test_the_systems_resolver_knows_this_machine() -> None:
    assert set(system("localhost", 80)) <= {"127.0.0.1", "::1"} and system("localhost", 80)


def test_a_connection_to_another_address_than_the_vetted_one_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as made:
        check_peer("api.example", made, "127.0.0.1", LOOPBACK)
        for address, allowed, sub in (("127.0.0.2", LOOPBACK, "peer"), ("8.8.8.8", GLOBAL, "loopback")):
            with pytest.raises(Refused) as caught:
                check_peer("api.example", made, address, allowed)
            assert (caught.value.reason, caught.value.sub) == (Reason.ERR_EGRESS_DENIED, sub)
