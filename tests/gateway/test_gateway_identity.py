"""Whoever sends a request is one known principal, or nobody."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.gateway.identity import Agent, Agents, ControlIdentity, DataIdentity, carried
from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.head import Head

ANN, BOB, NOBODY, OPERATOR = ("A" * 43, "B" * 43, "C" * 43, "O" * 43)
CERTIFICATE, OTHER = digest(b"ann"), digest(b"other")
AGENTS = Agents([
    Agent("ann", token=digest(ANN.encode()), uid=1001, certificate=CERTIFICATE),
    Agent("bob", token=digest(BOB.encode()), uid=1002),
])  # fmt: skip
DATA = DataIdentity(lambda: AGENTS)
CONTROL = ControlIdentity(digest(OPERATOR.encode()), (0, os.geteuid()))
TCP, FAR = Peer("127.0.0.1:50000", None, None), Peer("192.0.2.7:50000", None, None)


def head(path: str = "/mcp/v1/execute", **fields: str) -> Head:
    return Head("POST", path, "", "localhost", {name.replace("_", "-"): value for name, value in fields.items()})


def who(sent: Head, peer: Peer = TCP, identity: DataIdentity = DATA) -> str:
    try:
        agent, bare = identity.who(sent, peer)
    except Refused as refused:
        return "" if refused.reason is Reason.ERR_UNAUTHENTICATED else str(refused)
    left = repr(bare)
    assert not any(token in left for token in (ANN, BOB, NOBODY)), "a credential goes no further"
    return agent.name


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def unix(uid: int) -> Peer:
    return Peer("", uid, None)


@pytest.mark.parametrize(
    ("sent", "peer", "name"),
    [
        (head(**bearer(ANN)), TCP, "ann"),
        (head(authorization=f"bearer {BOB}"), TCP, "bob"),
        (head(x_api_key=ANN), TCP, "ann"),
        (head(f"/k/{BOB}/mcp/v1/execute"), TCP, "bob"),
        (head(f"/k/{BOB}/mcp/v1/execute"), replace(TCP, address="[::1]:50000"), "bob"),
        (head(), unix(1001), "ann"),
        (head(), replace(FAR, certificate=CERTIFICATE), "ann"),
        (head(**bearer(ANN)), FAR, "ann"),
        (head(f"/k/{ANN}/v1", x_api_key=ANN, **bearer(ANN)), replace(unix(1001), certificate=CERTIFICATE), "ann"),
        (head(**bearer(BOB)), unix(4000), "bob"),
        (head(), TCP, ""),
        (head(), unix(4000), ""),
        (head(**bearer(NOBODY)), TCP, ""),
        (head(**bearer(OPERATOR)), TCP, ""),
        (head(**bearer("")), TCP, ""),
        (head(**bearer(ANN + "A")), TCP, ""),
        (head(authorization=f"Basic {ANN}"), TCP, ""),
        (head(x_api_key=""), TCP, ""),
        (head(f"/k/{ANN}"), TCP, ""),
        (head(f"/k/{ANN}/v1"), FAR, ""),
        (head("/k//v1"), TCP, ""),
        (head(x_api_key=BOB, **bearer(ANN)), TCP, ""),
        (head(x_api_key=NOBODY, **bearer(ANN)), TCP, ""),
        (head(f"/k/{BOB}/v1", x_api_key=ANN), TCP, ""),
        (head(**bearer(BOB)), unix(1001), ""),
        (head(**bearer(BOB)), replace(FAR, certificate=CERTIFICATE), ""),
        (head(**bearer(ANN)), replace(FAR, certificate=OTHER), ""),
    ],
)
def test_every_credential_of_a_request_names_the_same_agent_or_nobody_is_known(sent: Head, peer: Peer, name: str) -> None:
    assert who(sent, peer) == name


def test_a_token_in_the_path_is_not_in_the_path_that_goes_on() -> None:
    assert DATA.who(head(f"/k/{ANN}/mcp/v1/execute"), TCP)[1].path == "/mcp/v1/execute"


def test_an_open_loopback_lets_in_who_sends_nothing_and_nobody_with_a_wrong_credential() -> None:
    door = replace(DATA, open_as="local")
    assert [who(head(), peer, door) for peer in (TCP, unix(4000), FAR)] == ["local", "local", ""]
    assert who(head(**bearer(NOBODY)), TCP, door) == ""
    assert who(head(**bearer(ANN)), TCP, door) == "ann"
    assert who(head(), TCP, replace(DATA, open_as="ann")) == "", "nobody becomes an agent by sending nothing"


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_text_but_a_token_is_taken_for_one(text: str) -> None:
    assert who(head(x_api_key=text)) == ""
    assert who(head(authorization=text)) == ""


@pytest.mark.parametrize(
    ("sent", "peer", "known"),
    [
        (head(), unix(os.geteuid()), True),
        (head(), unix(0), True),
        (head(**bearer(OPERATOR)), TCP, True),
        (head(**bearer(OPERATOR)), unix(1001), True),
        (head(), TCP, False),
        (head(), unix(1001), False),
        (head(**bearer(ANN)), TCP, False),
        (head(**bearer(ANN)), unix(os.geteuid()), False),
        (head(x_api_key=ANN, **bearer(OPERATOR)), TCP, False),
        (head(), replace(FAR, certificate=CERTIFICATE), False),
    ],
)
def test_the_control_plane_opens_to_its_user_and_to_the_operators_token_and_to_no_agent(
    sent: Head, peer: Peer, known: bool
) -> None:
    if known:
        assert OPERATOR not in repr(CONTROL.admit(sent, peer))
    else:
        with pytest.raises(Refused, match="ERR_UNAUTHENTICATED"):
            CONTROL.admit(sent, peer)


def test_no_two_refusals_can_be_told_apart() -> None:
    said = set()
    for sent in (head(), head(**bearer(NOBODY)), head(x_api_key=BOB, **bearer(ANN)), head(**bearer(OPERATOR))):
        with pytest.raises(Refused) as refused:
            DATA.who(sent, TCP)
        said.add((refused.value.reason, refused.value.detail, refused.value.hint))
    assert len(said) == 1


def test_the_bare_request_keeps_all_that_is_no_credential() -> None:
    sent = head("/k/" + ANN + "/v1/evaluate", traceparent="t", idempotency_key="k")
    assert carried(sent, TCP)[1].fields == {"traceparent": "t", "idempotency-key": "k"}
