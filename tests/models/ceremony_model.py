"""What may become of a held call, said a second time, from `docs/spec/approval.md` alone. Imports nothing of the product.

Values are as JSON has them: a clock is `(wall_ms, boot, boot_ms)`, a requirement a dict. A world takes what is said in the order
of the log and answers with the finding that a reader has of it, or None.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Clock = tuple[int, str, int]
INVALID, REUSED, SHORT = "APPROVAL_INVALID", "APPROVAL_REUSED", "TIMELOCK_SHORT"
EXPIRED, DENIED, REQUIRED = "ERR_APPROVAL_EXPIRED", "ERR_APPROVAL_DENIED", "ERR_APPROVAL_REQUIRED"
UNTRUSTED, PENDING, OK = "ERR_CLOCK_UNTRUSTED", "ERR_APPROVAL_PENDING_TIMELOCK", "OK"
SAYS = (PENDING, DENIED, EXPIRED, UNTRUSTED)


def hashed(kind: str, said: Mapping[str, Any]) -> str:
    """Of ASCII without floats this is the canonical form."""
    body = json.dumps(said, sort_keys=True, separators=(",", ":"))
    name = f"application/vnd.helm.{kind}.v1+json"
    return "sha256:" + hashlib.sha256(f"DSSEv1 {len(name)} {name} {len(body)} {body}".encode()).hexdigest()


def elapsed(now: Clock, then: Clock) -> tuple[int, int]:
    """By the wall, and since the boot."""
    return now[0] - then[0], now[2] - (then[2] if now[1] == then[1] else 0)


def went_back(now: Clock, then: Clock) -> bool:
    return min(elapsed(now, then)) < 0


def as_json(clock: Clock) -> dict[str, Any]:
    return {"wall_ms": clock[0], "boot": clock[1], "boot_ms": clock[2]}


def same(person: str, people: Collection[str]) -> bool:
    return person.lower() in {other.lower() for other in people}


@dataclass
class Said:
    leaf: str
    keys: dict[str, str]  # key -> principal
    clock: Clock


@dataclass
class Call:
    leaf: str
    intent: str
    about: tuple[str, str, str]  # principal, tool, pin
    args: str
    requires: dict[str, Any]
    at: Clock
    approvals: list[Said] = field(default_factory=list)
    denial: Said | None = None
    override: Said | None = None
    disputed: bool = False
    acts: str = "kernel"

    def counting(self, ended: Collection[str]) -> list[Said]:
        return [one for one in self.approvals if not one.keys.keys() & set(ended)]

    def state(self, ended: Collection[str]) -> tuple[str, Clock | None, list[Said]]:
        if self.denial:
            return "denied", None, [self.denial]
        if self.override and not self.override.keys.keys() & set(ended):
            return "overridden", self.override.clock, [self.override]
        counting = self.counting(ended)
        enough = counting[: self.requires["approvers"]]
        if len(enough) == self.requires["approvers"]:
            return "complete", enough[-1].clock, enough
        return "waiting", None, counting

    def read(self, ended: Collection[str]) -> dict[str, Any]:
        state, since, said = self.state(ended)
        out: dict[str, Any] = {"at": as_json(self.at), "call": self.leaf, "requires": self.requires, "state": state}
        out |= {"since": as_json(since)} if since else {}
        out |= {"statements": [one.leaf for one in said]} if said else {}
        return out | ({"disputed": True} if self.disputed else {})

    def true(self, now: Clock, ended: Collection[str]) -> str:
        state, since, _ = self.state(ended)
        wait = self.requires["expires_ms"] + (self.requires["timelock_ms"] if since else 0)
        if max(elapsed(now, since or self.at)) > wait:
            return EXPIRED
        if state == "denied":
            return DENIED
        if since is None:
            return REQUIRED
        if went_back(now, since):
            return UNTRUSTED
        return PENDING if state == "complete" and min(elapsed(now, since)) < self.requires["timelock_ms"] else OK


@dataclass
class Grant:
    leaf: str
    about: tuple[str, str, str]
    keys: dict[str, str]
    since: Clock
    left: int
    lasts_ms: int

    def by(self, ended: Collection[str]) -> list[str]:
        return sorted(principal for key, principal in self.keys.items() if key not in ended)

    def read(self, ended: Collection[str]) -> dict[str, Any]:
        return {"by": self.by(ended), "left": self.left, "since": as_json(self.since), "statement": self.leaf}

    def over(self, now: Clock) -> bool:
        return self.left < 1 or went_back(now, self.since) or max(elapsed(now, self.since)) > self.lasts_ms

    def suffices(self, requires: Mapping[str, Any], now: Clock, ended: Collection[str]) -> bool:
        people = [one for one in self.by(ended) if not same(one, requires["not_by"])]
        long = not went_back(now, self.since) and min(elapsed(now, self.since)) >= requires["timelock_ms"]
        return len(people) >= requires["approvers"] and long


@dataclass
class World:
    deployment: str
    held: dict[str, Call] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    grants: dict[str, Grant] = field(default_factory=dict)
    nonces: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)  # keys

    def intent(self, about: tuple[str, str, str], args: str, requires: Mapping[str, Any]) -> str:
        principal, tool, pin = about
        said = {"args_hash": args, "deployment": self.deployment, "pin": pin, "principal": principal, "tool": tool}
        return hashed("intent", {**said, "requires": requires})

    def says(self, leaf: str, said: Mapping[str, Any], keys: dict[str, str], clock: Clock) -> str | None:
        """An approval, or an override (which has no `confirmation`)."""
        if said["nonce"] in self.nonces:
            return REUSED
        self.nonces.add(said["nonce"])
        word, (key, person) = said.get("decision", "override"), min(keys.items())
        call = self.held.get(said["call"])
        if call is None:
            return REUSED if said["call"] in self.used else INVALID
        if said["intent"] != call.intent:
            return INVALID
        named = {"decision": word, "intent": call.intent, "key": key, "nonce": said["nonce"]}
        if "confirmation" in said and said["confirmation"] != hashed("approval-confirm", named):
            return INVALID
        if call.true(clock, self.ended) == EXPIRED or (word in ("approve", "override") and went_back(clock, call.at)):
            return INVALID
        state = call.state(self.ended)[0]
        if state == "denied":
            return INVALID
        if state == "overridden" and word != "deny":
            return REUSED
        if word == "withdraw" and not any(key in one.keys for one in call.approvals):
            return INVALID
        if word in ("approve", "override") and any(same(one, call.requires["not_by"]) for one in keys.values()):
            return INVALID
        if word == "approve" and any(same(person, one.keys.values()) for one in call.counting(self.ended)):
            return REUSED
        one = Said(leaf, keys, clock)
        if word == "approve":
            call.approvals.append(one)
        elif word == "withdraw":
            call.approvals = [other for other in call.approvals if key not in other.keys]
        elif word == "dispute":
            call.approvals, call.disputed = [], True
        elif word == "deny":
            call.denial = one
        else:
            call.override = one
        return None

    def decides(self, leaf: str, body: Mapping[str, Any], principal: str) -> str | None:
        """A decision with a part of it that is asked here."""
        try:
            return self._found(body, principal)
        finally:
            self._follow(leaf, body, principal)

    def lapses(self, leaf: str, clock: Clock) -> str | None:
        call = self.held.pop(leaf, None)
        return INVALID if call is None or call.true(clock, self.ended) != EXPIRED else None

    def _found(self, body: Mapping[str, Any], principal: str) -> str | None:
        facts, now, reason, call = body["facts"], clock_of(body["facts"]["clock"]), body["reason"], None
        if "approval" in facts:
            call = self.held.get(facts["approval"]["call"])
            if call is None:
                return REUSED if facts["approval"]["call"] in self.used else INVALID
            if call.about != (principal, body["tool"], body["pin"]) or call.acts != body["effect_by"]:
                return INVALID
            if "requires" not in body and body["args_hash"] != call.args:
                return INVALID
            if facts["approval"] != call.read(self.ended):
                return INVALID
        true = call.true(now, self.ended) if call else None
        if "requires" in body:
            if principal not in body["requires"].get("not_by", []) or true in (EXPIRED, DENIED):
                return INVALID
            return INVALID if call and not stricter(body["requires"], call.requires) else None
        if call and (body["verdict"] == "ESCALATE" or reason in SAYS) and reason != true:
            return INVALID
        if call is None and reason in SAYS:
            return INVALID
        grant = None
        if "grant" in facts:
            grant = self.grants.get(facts["grant"]["statement"])
            if grant is None or grant.about != (principal, body["tool"], body["pin"]) or facts["grant"] != grant.read(self.ended):
                return INVALID
        if body["verdict"] != "ALLOW" or (call is None and "relies" not in body):
            return None
        if call and body.get("relies") == facts["approval"].get("statements"):
            return None if true == OK else SHORT if true == PENDING else INVALID
        if grant is None or body.get("relies") != [grant.leaf] or grant.over(now):
            return INVALID
        if call and (call.disputed or true in (EXPIRED, DENIED) or not grant.suffices(call.requires, now, self.ended)):
            return INVALID
        return None

    def _follow(self, leaf: str, body: Mapping[str, Any], principal: str) -> None:
        named = body["facts"].get("approval", {}).get("call")
        before = self.held.get(named)
        if named in self.held and (body["verdict"] == "ALLOW" or "requires" in body or body["reason"] == EXPIRED):
            del self.held[named]
            self.used |= {named} if body["verdict"] == "ALLOW" else set()
        relied = body.get("relies", [])
        if len(relied) == 1 and relied[0] in self.grants:
            self.grants[relied[0]].left = max(self.grants[relied[0]].left - 1, 0)
        if "requires" in body:
            about = (principal, body["tool"], body["pin"])
            intent = self.intent(about, body["args_hash"], body["requires"])
            at = clock_of(body["facts"]["clock"])
            call = self.held[leaf] = Call(leaf, intent, about, body["args_hash"], body["requires"], at)
            call.disputed, call.acts = before is not None and before.disputed, body["effect_by"]


def clock_of(value: Mapping[str, Any]) -> Clock:
    return value["wall_ms"], value["boot"], value["boot_ms"]


def stricter(more: Mapping[str, Any], than: Mapping[str, Any]) -> bool:
    """It covers the other, and is another one."""
    covers = (
        more["approvers"] >= than["approvers"]
        and more["timelock_ms"] >= than["timelock_ms"]
        and more["expires_ms"] <= than["expires_ms"]
        and set(more["not_by"]) >= set(than["not_by"])
    )
    return covers and more != than
