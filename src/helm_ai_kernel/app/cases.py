"""Tests of a policy: calls that a person wrote down, each with the verdict that it must get (`docs/spec/policy.md`).

A case is decided by what decides a call, over the pinned tools and the policy files as they are edited. Nothing is written, and
nothing is dispatched. What only a running kernel knows (holds, freezes, budgets, earlier calls) is not there: rules are tested.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.ledger.writer import now
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.ceremony import WAIT_MS_MAX, Held, Requirement, State
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Decision, Facts, Verdict
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .config import Config
from .operate import Proposal

FILES_MAX = 64  # as many as a bundle has files
FILE_BYTES_MAX = 1 << 20  # some 5,000 cases
CASES_MAX = 10_000  # in all; decided in about two seconds
NAME_MAX = 200  # one line of a terminal, and a bit

_REQUIRED = frozenset({"name", "tool", "arguments", "expect"})
_OPTIONAL = frozenset({"principal", "door", "idempotency_key", "now", "approved", "reason", "rules"})
_SOMEBODY = digest(b"helm: an approval that a policy test assumes")  # in the place of a statement that no log has
_BOOT = "0" * 32
_BOOT_MS = 2 * WAIT_MS_MAX  # the machine runs for longer than anything that is waited for


@dataclass(frozen=True, slots=True)
class Case:
    file: str
    name: str
    tool: str
    raw: bytes  # the execute request
    principal: str
    door: str
    now_ms: int | None  # Unix time; None: the machine's clock
    approved: bool
    expect: Verdict
    reason: Reason | None  # None: whichever
    rules: tuple[str, ...] | None  # sorted; None: whichever

    def agrees(self, got: Decision) -> bool:
        if self.reason is not None and self.reason is not got.reason:
            return False
        return self.expect is got.verdict and (self.rules is None or self.rules == got.rules)


@dataclass(frozen=True, slots=True)
class Tried:
    case: Case
    got: Decision

    @property
    def ok(self) -> bool:
        return self.case.agrees(self.got)


def read(config: Config) -> list[Case]:
    """Every case of `policy/tests/*.json`, by file and in its order; raises `Refused`, naming file and case."""
    files = sorted((config.paths.policy / "tests").glob("*.json"))
    if len(files) > FILES_MAX:
        raise _wrong("policy/tests", f"has {len(files)} files, at most {FILES_MAX} are read", "put cases together")
    cases = [case for path in files for case in _file(path, config.agent)]
    if len(cases) > CASES_MAX:
        raise _wrong("policy/tests", f"has {len(cases)} cases, at most {CASES_MAX} are decided", "leave some out")
    return cases


def run(config: Config, proposal: Proposal) -> list[Tried]:
    """Each case as it would be decided if the proposal were in force; raises `Refused` for what is no case."""
    boundary, clock = Boundary(proposal.catalog, proposal.policy), now().clock
    tried = []
    for case in read(config):
        if case.tool not in proposal.catalog.tools:
            near = difflib.get_close_matches(case.tool, list(proposal.catalog.tools), 1)
            hint = f"did you mean `{near[0]}`?" if near else config.paths.typed("tools list")
            raise _wrong(case.file, f"case `{case.name}`: no tool `{case.tool[:100]}` is pinned", hint)
        tried.append(Tried(case, decided(boundary, case, clock.wall_ms)))
    return tried


def decided(boundary: Boundary, case: Case, wall_ms: int) -> Decision:
    """As a kernel decides it whose clock says so; an `approved` case that is held, once more with what it asks for approved."""
    policy = None if boundary.policy is None else boundary.policy.digest
    clock = Clock(wall_ms if case.now_ms is None else case.now_ms, _BOOT, _BOOT_MS)
    admitted, facts = boundary.admit(case.raw), Facts(case.principal, case.door, policy, clock)
    decision = boundary.decide(admitted, facts)
    if not case.approved or decision.requires is None:
        return decision
    return boundary.decide(admitted, replace(facts, approval=_approved(decision.requires, clock)))


def _approved(requires: Requirement, clock: Clock) -> Held:
    """By enough people, as long ago as its timelock asks for."""
    then = Clock(clock.wall_ms - requires.timelock_ms, clock.boot, clock.boot_ms - requires.timelock_ms)
    return Held(_SOMEBODY, then, requires, State.COMPLETE, then, (_SOMEBODY,))


def _file(path: Path, agent: str) -> Iterator[Case]:
    where = f"tests/{path.name}"
    if path.stat().st_size > FILE_BYTES_MAX:
        raise _wrong(where, f"is larger than {FILE_BYTES_MAX} bytes", "split it")
    try:
        listed = parse(path.read_bytes(), bytes_max=FILE_BYTES_MAX)
    except Refused as no:
        raise _wrong(where, f"is not JSON: {no.detail}", no.hint or "write a list of cases") from None
    if type(listed) is not list:
        raise _wrong(where, "is no list of cases", 'write [{"name": "…", "tool": "…", "arguments": {}, "expect": "DENY"}]')
    seen: set[str] = set()
    for number, value in enumerate(listed, 1):
        case = _case(where, number, value, agent)
        if case.name in seen:
            raise _wrong(where, f"two cases are called `{case.name}`", "give each a name of its own")
        seen.add(case.name)
        yield case


def _case(where: str, number: int, value: Json, agent: str) -> Case:
    name = value.get("name") if type(value) is dict else None
    label = f"case `{name[:NAME_MAX]}`" if type(name) is str and name else f"case {number}"
    try:
        return _read(where, fields.exact(value, _REQUIRED, _OPTIONAL), agent)
    except EvidenceError as error:
        hint = f"a case has {_listed(_REQUIRED)}; it may have {_listed(_OPTIONAL)}"
        raise _wrong(where, f"{label}: {error.detail}", hint) from None


def _read(where: str, body: Mapping[str, Json], agent: str) -> Case:
    if not 0 < len(name := fields.typed(body, "name", str)) <= NAME_MAX:
        raise fields.wrong(f"field `name` is not 1 to {NAME_MAX} characters")
    if "approved" in body and body["approved"] is not True:
        raise fields.wrong("field `approved` is not true")
    asked: dict[str, Json] = {"tool": fields.typed(body, "tool", str), "arguments": fields.typed(body, "arguments", dict)}
    if "idempotency_key" in body:
        asked["idempotency_key"] = fields.typed(body, "idempotency_key", str)
    return Case(
        file=where,
        name=name,
        tool=str(body["tool"]),
        raw=canonical(asked),
        principal=fields.text(body, "principal", bytes_max=64) if "principal" in body else agent,
        door=fields.text(body, "door", bytes_max=64) if "door" in body else "library",
        now_ms=fields.count(body, "now") if "now" in body else None,
        approved="approved" in body,
        expect=fields.one_of(body, "expect", Verdict),
        reason=fields.one_of(body, "reason", Reason) if "reason" in body else None,
        rules=tuple(sorted(fields.strings(body, "rules"))) if "rules" in body else None,
    )


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _wrong(where: str, detail: str, hint: str) -> Refused:
    return Refused(Reason.ERR_POLICY_ERROR, f"`{where}`: {detail}", sub="tests", hint=hint)
