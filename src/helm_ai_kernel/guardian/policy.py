"""`decide`: one admitted call, the facts, one verdict. Everything that can make a call ALLOW is in this file.

Default deny; a `forbid` beats every `permit`; a rule that fails to evaluate denies (Cedar itself would skip it). The order of the
questions is part of the interface (`docs/spec/policy.md`): it decides which reason a refused call gets.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cedarpy import _internal

from helm_ai_kernel.tcb.call import Admitted, Call, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Decision, Facts, Verdict
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from . import reasons
from .asking import asking
from .bundle import Bundle, refused
from .check import RULES_PER_TOOL_MAX, checked
from .protect import Protected
from .rules import Rule, compile_rules
from .schema import CatalogFace, Record, Want, arguments_type, project

COMPILED_MAX = 100_000  # rules over all tools, about four seconds; rules with a scope are compiled for their tools only

_FAILED_RULE = re.compile(r"error while evaluating policy `([^`]*)`")


@dataclass(frozen=True, slots=True)
class Rules:
    """The compiled rules of one tool that are asked together, and what they read of a call."""

    handle: _internal.PolicySet
    want: Want


@dataclass(frozen=True, slots=True)
class Slice:
    """All that can matter to one tool: rules for other tools cost its calls nothing."""

    action: dict[str, str]
    resource: dict[str, str]
    entities: _internal.Entities
    arguments: Record
    base: Rules
    approval: Rules | None  # the `@require("approval")` rules


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A bundle that was type-checked against its catalogue, compiled. Immutable; `digest` names it."""

    digest: Digest
    manifest: bytes
    files: Mapping[str, bytes]
    catalog: Digest
    rules: Mapping[str, Rule]
    slices: Mapping[str, Slice] = field(repr=False)
    protected: Protected = field(repr=False)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], catalog: CatalogFace, protected: Sequence[str]) -> "Policy":
        """Raises `Refused(ERR_POLICY_ERROR)`; `detail` names the file, the rule and the cause, `hint` what to do."""
        return cls.from_bundle(Bundle.of(files, catalog.digest, protected), catalog)

    @classmethod
    def from_bundle(cls, bundle: Bundle, catalog: CatalogFace) -> "Policy":
        if bundle.catalog != catalog.digest:
            raise refused("the bundle was made for another catalogue", "catalog")
        for name in catalog.tools:
            if not all(name.partition("/")):
                raise refused(f"`{name[:100]}` is not `server/tool`", "catalog")
        arguments = {name: arguments_type(tool.input_schema) for name, tool in catalog.tools.items()}
        effects = {name: tool.effect for name, tool in catalog.tools.items()}
        rules = checked(bundle, arguments, effects)
        slices = _Compiler(rules).slices({name: (arguments[name], effects[name].value) for name in catalog.tools})
        named = MappingProxyType({rule.id: rule for rule in rules})
        compiled = (named, MappingProxyType(slices), Protected(bundle.protected))
        return cls(bundle.digest, bundle.manifest, bundle.files, bundle.catalog, *compiled)


class _Compiler:
    """Tools with the same rules share their compiled form."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._made: dict[tuple[str, ...], Rules] = {}
        self._count = 0

    def slices(self, tools: Mapping[str, tuple[Record, str]]) -> dict[str, Slice]:
        return {name: self._slice(name, arguments, effect) for name, (arguments, effect) in tools.items()}

    def _slice(self, tool: str, arguments: Record, effect: str) -> Slice:
        mine = tuple(rule for rule in self._rules if rule.applies(tool, effect))
        if len(mine) > RULES_PER_TOOL_MAX:
            raise refused(f"{len(mine)} rules apply to `{tool}`, at most {RULES_PER_TOOL_MAX}", "size", "narrow their scopes")
        asks = tuple(rule for rule in mine if rule.needs_approval)
        action, parents = {"type": "Action", "id": tool}, [{"type": "Action", "id": effect}]
        entities: Json = [{"uid": {**action}, "attrs": {}, "parents": [{**parent} for parent in parents]}]
        return Slice(
            action,
            {"type": "Server", "id": tool.partition("/")[0]},
            _internal.Entities.from_json_str(canonical(entities).decode()),
            arguments,
            self._compiled(tuple(rule for rule in mine if not rule.needs_approval)),
            self._compiled(asks) if asks else None,
        )

    def _compiled(self, rules: tuple[Rule, ...]) -> Rules:
        key = tuple(rule.id for rule in rules)
        if key not in self._made:
            self._count += len(rules)
            if self._count > COMPILED_MAX:
                raise refused(
                    f"more than {COMPILED_MAX} rules, counted per tool that they apply to", "size", "narrow their scopes"
                )
            self._made[key] = Rules(compile_rules(rules), Want.of(read for rule in rules for read in rule.reads))
        return self._made[key]


def decide(policy: Policy | None, admitted: Admitted, facts: Facts) -> Decision:
    """Pure and synchronous: called in the transaction that appends what it says. It never raises for what a caller can send."""
    if isinstance(admitted, Refusal):
        return _deny(admitted.reason, admitted.sub, hint=admitted.hint)
    if policy is None or facts.policy != policy.digest:
        return _deny(Reason.ERR_POLICY_NOT_READY)
    if facts.frozen is not None:
        return _deny(Reason.ERR_FROZEN)
    if facts.hold is not None:
        return _deny(Reason.ERR_TOOL_HALTED)
    try:
        return _decided(policy, admitted, facts)
    except Refused as no:  # also where the context has no canonical form: a question that cannot be asked has no answer
        return _deny(Reason.ERR_POLICY_ERROR, no.sub)


def _decided(policy: Policy, call: Call, facts: Facts) -> Decision:
    mine = policy.slices.get(call.tool)
    if mine is None:
        return _deny(Reason.ERR_TOOL_NOT_ALLOWED)
    seen = policy.protected.look(call.view)
    if seen.reserved_key:
        raise Refused(Reason.ERR_POLICY_ERROR, "a key of the arguments begins with `__`", sub="reserved_key")
    asked = _Question(mine, call, facts, seen.touches_kernel)
    allowed, rules = asked.of(mine.base)
    if not allowed:
        reason = Reason.ERR_POLICY_DENY if rules else Reason.ERR_TOOL_NOT_ALLOWED
        return _deny(reason, rules=rules, hint=_why(policy, rules))
    earlier = _idempotency(call, facts.claim)
    if earlier is not None:
        return earlier
    waits = asked.of(mine.approval)[1] if mine.approval is not None else ()
    relies: tuple[Digest, ...] = ()
    if waits or facts.approval is not None:
        asks = asking(tuple(policy.rules[rule].requires for rule in waits), facts)
        if asks.verdict is not Verdict.ALLOW:
            why = f"{_why(policy, waits)}; " if waits else ""
            return replace(asks, rules=waits, hint=why + reasons.hint(asks.reason))
        relies = asks.relies
    for name in sorted(facts.budget):
        if facts.budget[name] < 1:
            return _deny(Reason.ERR_BUDGET_EXHAUSTED, name, hint=f"the budget `{name}` has no call left")
    reserve = dict.fromkeys(facts.budget, 1)
    return Decision(Verdict.ALLOW, Reason.OK, rules, reserve=reserve, relies=relies, hint=reasons.hint(Reason.OK))


def _idempotency(call: Call, claim: Claim | None) -> Decision | None:
    if call.key_required and not call.key:
        return _deny(Reason.ERR_IDEMPOTENCY_KEY_REQUIRED)
    if claim is None:
        return None
    if not claim.same_args:
        return _deny(Reason.ERR_IDEMPOTENCY_MISMATCH)
    if claim.state is ClaimState.DONE:
        return Decision(Verdict.ALLOW, Reason.REPEATED, repeats=claim.decision, hint=reasons.hint(Reason.REPEATED))
    return _deny(Reason.ERR_IDEMPOTENCY_IN_FLIGHT if claim.state is ClaimState.OPEN else Reason.ERR_OUTCOME_UNKNOWN)


def _deny(reason: Reason, sub: str = "", *, rules: tuple[str, ...] = (), hint: str = "") -> Decision:
    general = reasons.hint(reason)
    return Decision(Verdict.DENY, reason, rules, sub, hint=f"{hint}; {general}" if hint else general)


def _why(policy: Policy, rules: tuple[str, ...]) -> str:
    """The first rule, in its author's words or in its own."""
    if not rules:
        return "no rule permits this call"
    rule = policy.rules[rules[0]]
    more = f", and {len(rules) - 1} more" if len(rules) > 1 else ""
    verb = "asks for an approval" if rule.needs_approval else "forbids this call"
    said = rule.description or rule.condition
    return f"rule `{rule.id}` of `{rule.file}`{more} {verb}{': ' + said if said else ''}"


@dataclass(frozen=True, slots=True)
class _Question:
    """One call as Cedar is asked about it."""

    slice: Slice
    call: Call
    facts: Facts
    touches_kernel: bool

    def of(self, rules: Rules) -> tuple[bool, tuple[str, ...]]:
        """Allowed or not, and the ids that determined it; raises `Refused(ERR_POLICY_ERROR)` for anything but a clean answer."""
        request = {
            "principal": {"type": "Agent", "id": self.facts.principal},
            "action": self.slice.action,
            "resource": self.slice.resource,
            "context": canonical(self._context(rules.want)).decode(),
        }
        try:
            # Not through the package's wrapper: it costs a third of the call.
            text = _internal.is_authorized(request, rules.handle, self.slice.entities, None, False)
        except Exception:  # whatever the engine raises is no verdict, and no verdict is a deny
            raise Refused(Reason.ERR_POLICY_ERROR, "the policy engine failed", sub="engine") from None
        return read_verdict(parse(text.encode()))

    def _context(self, want: Want) -> dict[str, Json]:
        """Only what these rules read: the rest cannot matter, and the time that Cedar takes grows with it."""
        context: dict[str, Json] = {}
        for name, inner in want.below.items():
            if name == "touches_kernel":
                context[name] = self.touches_kernel
            elif name == "args":
                context[name] = project(self.call.view, self.slice.arguments, inner)
            elif name == "now":
                context[name] = self.facts.clock.wall_ms
            elif name == "door":
                context[name] = self.facts.door
            elif name == "labels":
                context[name] = list(self.call.labels)
            elif name == "destinations":
                context[name] = list(self.call.destinations)
        return context


def read_verdict(answer: Json) -> tuple[bool, tuple[str, ...]]:
    """Literally `Allow` or `Deny`, without an error; raises `Refused(ERR_POLICY_ERROR)` for anything else."""
    diagnostics = answer.get("diagnostics") if type(answer) is dict else None
    if type(answer) is not dict or type(diagnostics) is not dict or answer.get("decision") not in ("Allow", "Deny"):
        raise Refused(Reason.ERR_POLICY_ERROR, "the policy engine gave no verdict", sub="engine")
    errors, found = diagnostics.get("errors"), diagnostics.get("reason")
    if errors != [] or type(found) is not list:
        texts = [str(error) for error in errors] if type(errors) is list else []
        # Only the beginning of each is surely Cedar's own, and they come in no order: a replay must say the same.
        failed = sorted(found[1] for found in map(_FAILED_RULE.match, texts) if found)
        raise Refused(Reason.ERR_POLICY_ERROR, "a rule failed", sub=f"rule {failed[0]}"[:200] if failed else "engine")
    return answer["decision"] == "Allow", tuple(sorted(str(rule) for rule in found))
