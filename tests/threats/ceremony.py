"""A resident kernel whose calls wait for people, agents who call it over HTTP, and people at its control plane."""

import asyncio
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.kernels import OPEN, Place
from app.residents import HERE, Answered, Up
from helm_ai_kernel.app import agents, asks, operate
from helm_ai_kernel.app.asks import Waiting
from helm_ai_kernel.app.beside import Beside
from helm_ai_kernel.app.config import Upstream
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.gateway.identity import Agent
from helm_ai_kernel.tcb.ceremony import Act, confirmation, intent
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import Signer
from helm_ai_kernel.tcb.statement import Statement, StatementKind, sign

AT = "2026-11-23T00:00:00.000Z"
SERVER = Path(__file__).parent / "doing_server.py"
ASK = OPEN + b'@id("ask") @require("approval") %s forbid (principal, action == Action::"tools/send", resource);\n'
SENT: dict[str, Json] = {"amount": 5, "to": "shop"}


@dataclass
class Office:
    """A home, its agents' tokens, and what was done for real."""

    place: Place
    tokens: dict[str, str]

    @property
    def done(self) -> list[Any]:
        path = self.place.folder / "effects"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def operator(self) -> str:
        return agents.operator_token(self.place.paths)

    def held(self) -> list[Waiting]:
        return asks.waiting(self.place.config)

    def one(self) -> Waiting:
        (held,) = self.held()
        return held

    def call(self, up: Up, who: str = "ann", tool: str = "tools/send", sent: object = None, **fields: str) -> Answered:
        body = {"tool": tool, "arguments": SENT if sent is None else sent}
        return up.ask("data", "POST", "/mcp/v1/execute", body, token=self.tokens[who], **fields)

    def say(self, held: Waiting, act: Act, signer: Signer) -> Any:
        """As the command line says it; raises what the kernel refuses with."""
        return asyncio.run(asks.say(Beside.open(self.place.config), held, act, signer))

    def challenge(self, up: Up, call: str, key: str) -> Answered:
        return up.ask("control", "POST", f"/v1/approvals/{call}/challenge", {"key": key}, token=self.operator)

    def put(self, up: Up, statement: Statement) -> Answered:
        body = {"statement": statement.record.to_json(), "documents": []}
        return up.ask("control", "POST", "/v1/statements", body, token=self.operator)

    def attack(self, up: Up, held: Waiting, signer: Signer, *, nonce: str | None = None, **said: Any) -> Answered:
        """An approval of that call, asked for and signed as it should be, but for what is `said` instead."""
        given = nonce if nonce is not None else str(self.challenge(up, held.ceremony.call, signer.public.id).value["nonce"])
        return self.put(up, approval(held, signer, given, **said))


def approval(held: Waiting, signer: Signer, nonce: str, **said: Any) -> Statement:
    ceremony = held.ceremony
    named = said.pop("about", ceremony.intent)
    act, log = said.pop("act", Act.APPROVE), said.pop("log", held.decision.log)
    answer = confirmation(named, said.pop("answers", nonce), said.pop("by", signer.public.id), said.pop("confirmed", act))
    content: dict[str, Json] = {"call": ceremony.call, "decision": act.value, "intent": named, "confirmation": answer, **said}
    return sign(StatementKind.APPROVAL, content, log=log, at=AT, nonce=nonce, signers=[signer])


def other_intents(held: Waiting) -> dict[str, str]:
    """What the same people would have signed for, had one thing been otherwise."""
    ceremony, requires = held.ceremony, held.ceremony.requires
    fields: dict[str, Any] = {
        "deployment": held.decision.log.rpartition("/")[0], "principal": ceremony.principal, "tool": ceremony.tool,
        "pin": ceremony.pin, "args": ceremony.args, "requires": requires,
    }  # fmt: skip
    others: dict[str, tuple[str, Any]] = {
        "tenant": ("deployment", fields["deployment"][:-1] + ("0" if fields["deployment"][-1] != "0" else "1")),
        "principal": ("principal", "anN"),
        "tool": ("tool", "tools/note"),
        "pin": ("pin", "sha256:" + "0" * 64),
        "arguments": ("args", flipped(ceremony.args)),
        "approvers": ("requires", replace(requires, approvers=requires.approvers + 1)),
        "timelock": ("requires", replace(requires, timelock_ms=requires.timelock_ms + 1)),
        "deadline": ("requires", replace(requires, expires_ms=requires.expires_ms - 1)),
        "who may not": ("requires", replace(requires, not_by=())),
    }
    assert intent(**fields) == ceremony.intent
    return {name: intent(**{**fields, field: value}) for name, (field, value) in others.items()}


def flipped(digest: str) -> str:
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


def office(place: Place, notes: bytes = b"", *names: str, configure: str = "", **agent: Any) -> Office:
    """A home whose kernel asks before `tools/send`."""
    place.configure(HERE + configure)
    command = [sys.executable, "-I", "-S", str(SERVER), str(place.folder / "effects")]

    async def pinned() -> None:
        runtime = await Runtime.open(place.config)
        try:
            doc, _ = await operate.ask("tools", Upstream(tuple(command)))
            operate.classify(doc, ["write"], [])
            await place.signing(doc, ASK % notes)(runtime)
        finally:
            await runtime.close()

    asyncio.run(pinned())
    tokens = {name: agents.add(place.paths, Agent(name, **agent), token=True).token or "" for name in names or ("ann",)}
    return Office(place, tokens)
