"""The kernel as a resource: which tokens it looks at and where, what it says without one, and who is known by one."""

import json
import re
from dataclasses import replace

import pytest

from helm_ai_kernel.gateway.identity import Agent, Agents, ControlIdentity, DataIdentity
from helm_ai_kernel.gateway.resource import Resource
from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire.challenge import Challenge
from helm_ai_kernel.wire.head import Head

ANN, BOB, OPERATOR = "A" * 43, "B" * 43, "O" * 43
SIGNED = {
    "ann.good.token": ("subject-ann", "use more"),
    "ann.small.token": ("subject-ann", "more"),
    "no.bodys.token": ("x", "use"),
}
AGENTS = Agents([
    Agent("ann", token=digest(ANN.encode()), subject="subject-ann"),
    Agent("bob", token=digest(BOB.encode()), uid=1002),
])  # fmt: skip
TCP = Peer("127.0.0.1:50000")
asked: list[str] = []


def verify(token: str) -> tuple[str, frozenset[str]]:
    asked.append(token)
    if token not in SIGNED:
        raise Refused(Reason.ERR_UNAUTHENTICATED, "no", sub="jwt_signature")
    subject, scopes = SIGNED[token]
    return subject, frozenset(scopes.split())


RESOURCE = Resource("https://kernel.example/mcp", "https://issuer.example", ("use",), verify)
DATA = DataIdentity(lambda: AGENTS, resource=RESOURCE)


def head(path: str = "/mcp", method: str = "POST", **fields: str) -> Head:
    return Head(method, path, "", "localhost", {name.replace("_", "-"): value for name, value in fields.items()})


def who(sent: Head, peer: Peer = TCP, identity: DataIdentity = DATA) -> str:
    try:
        agent, bare = identity.who(sent, peer)
    except Refused as refused:
        return refused.sub or "nobody"
    assert "token" not in repr(bare) and ANN not in repr(bare), "a credential goes no further"
    return agent.name


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"authorization": f"{scheme} {token}"}


@pytest.mark.parametrize(
    ("sent", "peer", "name"),
    [
        (head(**bearer("ann.good.token")), TCP, "ann"),
        (head(**bearer("ann.good.token", "bEARER")), TCP, "ann"),
        (head(**bearer("ann.good.token"), x_api_key=ANN), TCP, "ann"),
        (head(**bearer("ann.good.token"), x_api_key=BOB), TCP, "nobody"),
        (head(**bearer("ann.good.token")), Peer("", 1002), "nobody"),
        (head(**bearer(ANN)), TCP, "ann"),  # agents without an issuer go on
        (head(**bearer("no.bodys.token")), TCP, "nobody"),
        (head(**bearer("no.bodys.token"), x_api_key=ANN), TCP, "nobody"),
        (head(**bearer("a.forged.token")), TCP, "jwt_signature"),
        (head(**bearer("a.forged.token"), x_api_key=ANN), TCP, "jwt_signature"),
        (head(**bearer("ann.small.token")), TCP, "insufficient_scope"),
        (head(**bearer("opaque")), TCP, "nobody"),
        (head(**bearer("ann.good.token", "DPoP")), TCP, "nobody"),
        (head(x_api_key="ann.good.token"), TCP, "nobody"),
        (head("/k/ann.good.token/mcp"), TCP, "nobody"),
        (head("/mcp/v1/execute", **bearer("ann.good.token")), TCP, "nobody"),  # another resource
        (head("/mcp/shop", **bearer("ann.good.token")), TCP, "ann"),  # one server of it
        (head("/mcp/shop/more", **bearer("ann.good.token")), TCP, "nobody"),
        (head("/mcpshop", **bearer("ann.good.token")), TCP, "nobody"),
        (head("/mcp/", **bearer("ann.good.token")), TCP, "nobody"),
        (head("/MCP", **bearer("ann.good.token")), TCP, "nobody"),
        (head(), TCP, "nobody"),
    ],
)
def test_a_signed_token_names_an_agent_at_the_resource_and_nowhere_else(sent: Head, peer: Peer, name: str) -> None:
    assert who(sent, peer) == name


def test_without_an_issuer_a_signed_token_is_nothing() -> None:
    assert who(head(**bearer("ann.good.token")), identity=DataIdentity(lambda: AGENTS)) == "nobody"


def test_a_forged_token_is_not_whoever_is_open_to_all() -> None:
    opened = replace(DATA, open_as="local")
    assert who(head(), identity=opened) == "local"
    assert who(head(**bearer("no.bodys.token")), identity=opened) == "nobody"
    assert who(head(**bearer("a.forged.token")), identity=opened) == "jwt_signature"


def test_an_agents_signed_token_opens_no_control_plane() -> None:
    control = ControlIdentity(digest(OPERATOR.encode()), (0,))
    with pytest.raises(Refused):
        control.admit(head(**bearer("ann.good.token")), TCP)


def test_tokens_are_looked_at_only_where_they_count() -> None:
    asked.clear()
    for sent in (head("/mcp/v1/execute", **bearer("ann.good.token")), head(x_api_key="ann.good.token"), head(**bearer(ANN))):
        who(sent)
    assert asked == []


@pytest.mark.parametrize("path", ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"])
def test_its_metadata_is_told_to_whoever_asks(path: str) -> None:
    told = RESOURCE.told(head(path, "GET"))
    assert told is not None and told.status == 200 and isinstance(told.body, bytes)
    assert json.loads(told.body) == {
        "resource": "https://kernel.example/mcp",
        "authorization_servers": ["https://issuer.example"],
        "scopes_supported": ["use"],
        "bearer_methods_supported": ["header"],
        "resource_name": "HELM AI Kernel",
    }
    others = (head(path, "POST"), head(path + "/", "GET"), head(path + "/other", "GET"), replace(head(path, "GET"), query="a=b"))
    assert [RESOURCE.told(other) for other in others] == [None] * 4


@pytest.mark.parametrize(
    ("sub", "sent", "status", "error"),
    [
        ("", head(), 401, ""),
        ("jwt_exp", head(**bearer("a.b.c")), 401, "invalid_token"),
        ("insufficient_scope", head(**bearer("a.b.c")), 403, "insufficient_scope"),
    ],
)
def test_a_refusal_says_where_to_go_and_what_to_ask_for(sub: str, sent: Head, status: int, error: str) -> None:
    code, ((name, text),) = RESOURCE.challenge(sent, Refused(Reason.ERR_UNAUTHENTICATED, "no", sub=sub))
    place = "https://kernel.example/.well-known/oauth-protected-resource/mcp"
    assert (code, name, Challenge.parse(text)) == (status, "WWW-Authenticate", Challenge(error, ("use",), place))
    assert not re.search(r"[^ -~]", text)
