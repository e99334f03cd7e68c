"""One Cedar rule: where it stands, which tools it can apply to, and what of a call it reads.

The text is looked at before Cedar parses it, because Cedar's parser ends the process on nesting that is too deep, and it is
kept, because a denial shows the condition that matched.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from cedarpy import _internal, pst

from helm_ai_kernel.tcb.ceremony import APPROVERS_MAX, WAIT_MS_MAX, Requirement
from helm_ai_kernel.tcb.clock import duration_ms
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

from .bundle import Layer, layer_of, refused

RULE_TOKENS_MAX = 1000  # Cedar's parser overflows the stack at about 2,000 terms in one chain
NESTING_MAX = 64  # and at about 1,000 brackets
DESCRIPTION_MAX = 300  # a sentence or two: a denied caller gets it
SHOWN_MAX = 200  # characters of a rule's text in a hint
NOWHERE = "(nothing)"  # where a rule looks for what cannot be there

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|//[^\n]*+|\s++|\w++|.', re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\Z")
_CONDITION = re.compile(r"\)\s*((?:when|unless)\b.*)", re.DOTALL)
_ASKS = ("approvers", "timelock", "expires")  # what a rule may say of the approval that it requires
_ANNOTATIONS = frozenset({"id", "require", "description", *_ASKS})


@dataclass(frozen=True, slots=True)
class Read:
    """A path below `context` that a rule looks at: `("args", "path")`."""

    path: tuple[str, ...]
    whole: bool  # its value; False: only whether it is there (`has`)


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    file: str
    layer: Layer
    permits: bool
    requires: Requirement | None  # the approval without which it forbids; `not_by` is the kernel's to say
    description: str
    condition: str  # its `when` and `unless`, on one line; "" where it has none
    reads: frozenset[Read]
    node: pst.Template  # named by the rule's own id

    @property
    def needs_approval(self) -> bool:
        return self.requires is not None

    def applies(self, tool: str, effect: str) -> bool:
        """May its scope match a call of that tool? False only where it cannot; Cedar decides the rest."""
        return _action_may_match(self.node.action, (tool, effect)) and self.names_server(tool.partition("/")[0])

    def names_server(self, server: str) -> bool:
        found = self.server()
        return found is None or found == server

    def server(self) -> str | None:
        """The one server that its scope names, if any."""
        match self.node.resource:
            case pst.ScopeEq(pst.EntityUid() as entity) | pst.ScopeIn(pst.EntityUid() as entity):
                return entity.id
            case pst.ScopeIsIn(_, pst.EntityUid() as entity):
                return entity.id
        return None


def parse(name: str, text: str) -> tuple[Rule, ...]:
    """The rules of one file, in its order; raises `Refused(ERR_POLICY_ERROR)`."""
    texts = tuple(_statements(name, text))
    try:
        parsed = _internal.policies_to_pst(text)
    except ValueError as error:
        hint = "write `[…].contains(x)` where a condition lists many values" if "nesting" in str(error) else ""
        raise refused(f"`{name}`: {one_line(str(error))}", "syntax", hint) from None
    if parsed.templates or parsed.template_links:
        raise refused(f"`{name}`: a template (`?principal`, `?resource`) permits nothing here", "template", "write the names out")
    nodes = parsed.static_policies
    if len(nodes) != len(texts):
        raise refused(f"`{name}`: {len(texts)} statements, but {len(nodes)} rules", "syntax")
    return tuple(_rule(name, nodes[f"policy{at}"], source) for at, source in enumerate(texts))


def one_line(message: str) -> str:
    """Cedar's word for what is wrong, as a clause of ours."""
    return " ".join(message.split())[:SHOWN_MAX].rstrip(".")


def _statements(name: str, text: str) -> Iterator[str]:
    """The text between semicolons, without comments; refuses what would overflow Cedar's parser."""
    pieces: list[str] = []
    tokens = depth = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.startswith("//"):
            continue
        pieces.append(token)
        if token == ";":
            yield "".join(pieces).strip()
            pieces, tokens, depth = [], 0, 0
        elif token[0] != '"' and token != "," and not token.isspace():
            tokens += 1
            depth += (token in "([{") - (token in ")]}")
        if tokens > RULE_TOKENS_MAX or depth > NESTING_MAX:
            detail = f"`{name}`: a rule of more than {RULE_TOKENS_MAX} words and signs, or nested deeper than {NESTING_MAX}"
            raise refused(detail, "size", "write `[…].contains(x)`, or split it into several rules")
    if tokens or "".join(pieces).strip():
        raise refused(f"`{name}`: the last rule has no `;` at its end", "syntax")


def _rule(name: str, node: pst.Template, source: str) -> Rule:
    notes: Mapping[str, str] = node.annotations
    identity = notes.get("id", "")
    if not _ID.match(identity):
        hint = 'write for example @id("no-etc"): letters, digits and . _ : / -, at most 128'
        raise refused(f"`{name}`: a rule without a usable @id, at `{source[:60]}`", "annotation", hint)
    label = f"`{name}`: rule `{identity}`"
    if not notes.keys() <= _ANNOTATIONS:
        unknown = min(notes.keys() - _ANNOTATIONS)
        known = "known are @id, @description, @require, @approvers, @timelock and @expires"
        raise refused(f"{label} has the annotation `@{unknown[:60]}`", "annotation", known)
    description = notes.get("description", "")
    if len(description) > DESCRIPTION_MAX or not description.isprintable():
        raise refused(f"{label}: @description is one printable line of at most {DESCRIPTION_MAX} characters", "annotation")
    rule = Rule(
        id=identity,
        file=name,
        layer=layer_of(name),
        permits=node.effect != "forbid",
        requires=_requires(notes, label),
        description=description,
        condition=_condition(source),
        reads=frozenset(_reads(node.clauses)),
        node=pst.Template(identity, node.effect, node.principal, node.action, node.resource, node.clauses, notes),
    )
    if Read((), True) in rule.reads:
        raise refused(f"{label} uses `context` as a whole", "types", "name what it looks at, for example `context.args.path`")
    _check_layer(rule, label, notes.get("require", "approval"))
    return rule


def _requires(notes: Mapping[str, str], label: str) -> Requirement | None:
    """What `@require`, `@approvers`, `@timelock` and `@expires` ask for together."""
    if "require" not in notes:
        for name in _ASKS:
            if name in notes:
                raise refused(f"{label}: @{name} without @require", "annotation", 'add @require("approval")')
        return None
    approvers = notes.get("approvers", "1")
    if not approvers.isascii() or not approvers.isdigit() or not 0 < int(approvers[:4]) <= APPROVERS_MAX:
        raise refused(f"{label}: @approvers is a number from 1 to {APPROVERS_MAX}", "annotation")
    expires_ms = _duration(notes.get("expires", "1h"), f"{label}: @expires")
    return Requirement(
        int(approvers), _duration(notes["timelock"], f"{label}: @timelock") if "timelock" in notes else 0, expires_ms
    )


def _duration(text: str, label: str) -> int:
    """In ms."""
    wait = duration_ms(text)
    if wait is None or wait > WAIT_MS_MAX:
        raise refused(f"{label} is not a time", "annotation", "write for example 90s, 10m, 2h or 7d, at most 366d")
    return wait


def _check_layer(rule: Rule, label: str, require: str) -> None:
    if rule.permits and rule.layer is not Layer.BASE:
        raise refused(f"{label} permits: {rule.layer} may only forbid", "layer", "move it to a file beside `ceiling.cedar`")
    if not rule.needs_approval:
        return
    if require != "approval":
        raise refused(f"{label} requires `{require[:60]}`", "annotation", 'the one thing to require is @require("approval")')
    if rule.permits:
        raise refused(f"{label}: only a `forbid` can @require an approval", "annotation", "write a `forbid` beside the `permit`")
    if rule.layer is Layer.CEILING:
        raise refused(f"{label}: no approval overrides P0", "layer", "drop @require, or move it to a file beside `ceiling.cedar`")


def _condition(source: str) -> str:
    found = _CONDITION.search(source)
    return " ".join(found.group(1).rstrip(";").split())[:SHOWN_MAX] if found else ""


def _action_may_match(scope: pst.ActionConstraint, names: tuple[str, str]) -> bool:
    match scope:
        case pst.ActionEq(entity):
            return entity.id in names
        case pst.ActionIn(entities):
            return any(entity.id in names for entity in entities)
    return True


def _reads(node: object) -> Iterator[Read]:
    """Every path below `context` that the expression mentions, the longest of each; `context` itself counts as all of it.

    What is asked of anything else (`principal has x`, a tag) stands below `NOWHERE`: nothing but the context has attributes.
    """
    if isinstance(node, pst.HasAttr):
        base = _path(node.base)
        yield Read((*((NOWHERE,) if base is None else base), *node.attrs), False)
        if base is not None:
            return
    elif isinstance(node, pst.BinaryOp) and node.op in ("has_tag", "get_tag"):
        yield Read((NOWHERE, "tags"), False)
    path = _path(node)
    if path is not None:
        yield Read(path, True)
    elif isinstance(node, tuple):
        for item in node:
            yield from _reads(item)
    elif isinstance(node, Mapping):
        yield from _reads(tuple(node.values()))
    elif is_dataclass(node):
        for item in fields(node):
            yield from _reads(getattr(node, item.name))


def _path(node: object) -> tuple[str, ...] | None:
    if isinstance(node, pst.GetAttr):
        base = _path(node.base)
        return None if base is None else (*base, node.attr)
    return () if isinstance(node, pst.Var) and node.name == "context" else None


def compile_rules(rules: tuple[Rule, ...]) -> _internal.PolicySet:
    """Cedar's form of them, each under its own @id."""
    try:
        return _internal.PolicySet.from_pst(pst.PolicySet({}, {rule.id: rule.node for rule in rules}, ()))
    except (TypeError, ValueError) as error:
        raise Refused(Reason.ERR_POLICY_ERROR, f"cedar refuses the rules: {one_line(str(error))}", sub="syntax") from None
