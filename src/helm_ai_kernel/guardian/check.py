"""What is checked when a policy is made, so that a mistake in it fails `policy check` and not a call.

Cedar checks types; the rest here is what Cedar lets pass: a second rule of the same name, `has` with a misspelt argument, an
argument that no rule can see, a server that does not exist.
"""

from collections.abc import Mapping, Sequence

from cedarpy import _internal, pst

from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .bundle import Bundle, refused
from .rules import Read, Rule, one_line
from .rules import parse as parse_rules
from .schema import CONTEXT, Record, SetOf, Type, cedar_schema

RULES_MAX = 4096  # in a bundle; type-checking them takes seconds
RULES_PER_TOOL_MAX = 1024  # a receipt names every rule that determined a decision

_EFFECTS = frozenset(effect.value for effect in Effect)


def checked(bundle: Bundle, arguments: Mapping[str, Record], effects: Mapping[str, Effect]) -> tuple[Rule, ...]:
    """Every rule of the bundle, or `Refused(ERR_POLICY_ERROR)` for the first that does not hold against these tools."""
    texts = {name: content.decode() for name, content in bundle.files.items()}
    rules = tuple(rule for name, text in texts.items() for rule in parse_rules(name, text))
    if len(rules) > RULES_MAX:
        raise refused(f"{len(rules)} rules, at most {RULES_MAX}", "size")
    _check_names(rules, {tool.partition("/")[0] for tool in arguments})
    _check_types(texts, arguments, effects)
    for rule in rules:
        _check_reads(rule, {tool: record for tool, record in arguments.items() if rule.applies(tool, effects[tool])})
    return rules


def _check_names(rules: Sequence[Rule], servers: set[str]) -> None:
    seen: dict[str, str] = {}
    for rule in rules:
        if rule.id in seen:
            detail = f"`{rule.file}`: rule `{rule.id}` is also in `{seen[rule.id]}`"
            raise refused(detail, "annotation", "give each rule an @id of its own")
        seen[rule.id] = rule.file
        scope, server = rule.node.action, rule.server()
        if isinstance(scope, pst.ActionEq) and scope.entity.id in _EFFECTS:
            detail = f"`{rule.file}`: rule `{rule.id}`: `{scope.entity.id}` is a class of tools, and no call equals it"
            raise refused(detail, "types", f'write `action in Action::"{scope.entity.id}"`')
        if server is not None and server not in servers:
            hint = "helm-ai-kernel tools list"
            raise refused(f"`{rule.file}`: rule `{rule.id}`: no pinned tool is of the server `{server[:100]}`", "types", hint)


def _check_types(texts: Mapping[str, str], arguments: Mapping[str, Record], effects: Mapping[str, Effect]) -> None:
    try:
        schema = _internal.Schema.from_json_str(canonical(cedar_schema(arguments, effects)).decode())
    except ValueError as error:
        raise refused(f"cedar refuses the schema of the pinned tools: {one_line(str(error))}", "types") from None
    for name, text in texts.items():
        report = parse(_internal.validate_policies(text, schema).encode(), bytes_max=1 << 26)
        if type(report) is dict and report.get("validation_passed") is True:
            continue
        label, cause = _first_error(report)
        raise refused(f"`{name}`: {label}{one_line(cause)}", "types", "helm-ai-kernel tools list")


def _first_error(report: Json) -> tuple[str, str]:
    errors = report.get("errors") if type(report) is dict else None
    names = report.get("id_annotations_by_policy_id") if type(report) is dict else None
    first = errors[0] if type(errors) is list and errors else None
    if type(first) is not dict:
        return "", "cedar's validator gave no answer"
    place = str(first.get("policy_id", ""))
    label = f"rule `{names[place]}`: " if type(names) is dict and place in names else ""
    return label, str(first.get("error", "")).removeprefix(f"for policy `{place}`, ")


def _check_reads(rule: Rule, arguments: Mapping[str, Record]) -> None:
    """`has` is no type error to Cedar whatever it asks for, and what has no type would never be there."""
    for read in sorted(rule.reads, key=lambda read: read.path):
        shown = ".".join(read.path)
        if read.path[0] in CONTEXT:
            continue
        if read.path[0] != "args":
            detail = f"`{rule.file}`: rule `{rule.id}` asks for `{shown}`, and no call has that"
            raise refused(
                detail, "types", f"the context has args, {', '.join(CONTEXT)}; principal, action and resource have no attributes"
            )
        found = {tool: _find(record, read) for tool, record in arguments.items()}
        for tool, sight in found.items():
            if sight == "untyped":
                detail = f"`{rule.file}`: rule `{rule.id}` reads `{shown}`, and cedar cannot hold what `{tool}` allows there"
                raise refused(detail, "types", "null, unions, open objects and `anyOf` have no type: name other tools")
        if found and set(found.values()) == {"absent"}:
            detail = f"`{rule.file}`: rule `{rule.id}` reads `{shown}`, and no tool that it applies to has that"
            raise refused(detail, "types", "helm-ai-kernel tools list")


def _find(record: Record, read: Read) -> str:
    at: Type | None = record
    for name in read.path[1:]:
        if not isinstance(at, Record) or name not in at.fields:
            return "absent"
        at = at.fields[name]
    return "untyped" if at is None or (read.whole and not _full(at)) else "typed"


def _full(kind: Type | None) -> bool:
    """Is everything in it of a type?"""
    if isinstance(kind, SetOf):
        return _full(kind.element)
    return kind is not None and (not isinstance(kind, Record) or all(map(_full, kind.fields.values())))
