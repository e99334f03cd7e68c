"""What passes while a call is under way is counted and hashed, in order, and nothing passes behind its end."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.memory import run
from helm_ai_kernel.executor.relay import Counted, message
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.interim import Interim


class Client:
    """Whoever called: what it was told, and what it answers."""

    capabilities = b'{"elicitation":{}}'
    level = "info"

    def __init__(self, *, gone: bool = False) -> None:
        self.told: list[tuple[str, bytes]] = []
        self._gone = gone
        self.ends: Counted | None = None

    def said(self, method: str, params: bytes) -> None:
        if self._gone:
            raise OutsideError(Reason.ERR_SESSION_ENDED, "the client is gone")
        self.told.append((method, params))

    async def asked(self, method: str, params: bytes) -> bytes:
        if self.ends is not None:
            self.ends.end()
        return b'{"action":"accept"}'


def hashed(messages: list[bytes]) -> str:
    """As `docs/spec/receipt.md` says it, by hand."""
    head = bytes(32)
    for one in messages:
        head = hashlib.sha256(head + hashlib.sha256(one).digest()).digest()
    return "sha256:" + head.hex()


@given(st.lists(st.tuples(st.from_regex(r"[a-z/]{1,20}", fullmatch=True), st.binary(max_size=64))))
def test_every_message_that_passes_is_counted_and_hashed_in_order(messages: list[tuple[str, bytes]]) -> None:
    client = Client()
    counted = Counted(client)
    for method, params in messages:
        counted.said(method, params)
    found = counted.end()
    assert client.told == messages
    if found is None:
        assert not messages
    else:
        sent = [method.encode() + b"\n" + params for method, params in messages]
        assert found.to_json() == {"count": len(messages), "hash": hashed(sent)}
        assert Interim.from_json(found.to_json()) == found


def test_nothing_passes_behind_the_end_and_what_passed_stays_what_it_was() -> None:
    client = Client()
    counted = Counted(client)
    counted.said("notifications/progress", b"{}")
    found = counted.end()
    counted.said("notifications/progress", b"{}")
    assert len(client.told) == 1 and counted.end() == found == Interim().next(message("notifications/progress", b"{}"))
    with pytest.raises(OutsideError):
        run(counted.asked("elicitation/create", b"{}"))


def test_an_answer_that_comes_behind_the_end_goes_to_no_server() -> None:
    client = Client()
    client.ends = Counted(client)
    with pytest.raises(OutsideError):
        run(client.ends.asked("elicitation/create", b"{}"))


def test_a_question_is_no_interim_output_and_what_the_client_can_is_passed_through() -> None:
    counted = Counted(Client())
    assert run(counted.asked("elicitation/create", b"{}")) == b'{"action":"accept"}'
    assert counted.end() is None
    assert (counted.capabilities, counted.level) == (b'{"elicitation":{}}', "info")


@pytest.mark.parametrize("method", ["", "a b", "a\nb", "a\x00", "é", "x" * 129])
def test_what_is_no_method_passes_nowhere_and_is_not_counted(method: str) -> None:
    client = Client()
    counted = Counted(client)
    counted.said(method, b"{}")
    assert client.told == [] and counted.end() is None


def test_a_client_that_is_gone_ends_no_call_and_what_may_have_left_is_counted() -> None:
    counted = Counted(Client(gone=True))
    counted.said("notifications/message", b"{}")
    found = counted.end()
    assert found is not None and found.count == 1


def test_two_messages_are_never_hashed_as_another_two() -> None:
    split = [("a", b"b\nc"), ("a\nb", b"c")]
    assert message(*split[0]) == message(*split[1]), "which is why a method has no newline"
    assert Interim().next(b"a").next(b"b") != Interim().next(b"b").next(b"a")
    assert Interim().next(b"ab") != Interim().next(b"a").next(b"b")


def test_an_interim_of_nothing_is_none() -> None:
    with pytest.raises(EvidenceError):
        Interim.from_json(Interim().to_json())
