"""One pinned tool: the upstream's definition untouched, what a person said about it, and the contracts compiled from both."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

from .keyword import Dialect
from .methods import KINDS, METHODS
from .operation import Operation
from .schema import Schema
from .vet import dialect_of

WALL_MS, WALL_MS_MAX = 30_000, 3_600_000  # an hour: nothing that a caller waits for takes longer
OUTPUT_BYTES, OUTPUT_BYTES_MAX = 1 << 20, 1 << 24  # outputs are held whole until their outcome is durable
LIST_MAX = 64  # labels, destinations, formats, variables

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}\Z")
_DESTINATION = re.compile(r"[!-~]{1,253}\Z")
_FORMAT = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")

_ENTRY = frozenset(
    {
        "name", "raw", "pin", "dialect", "effect", "labels", "limits", "destinations", "require_key", "closed", "accept_formats",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """One pinned tool. `raw` is the upstream's definition, untouched; `input` and `output` are enforced."""

    name: str  # "server/tool", or "server/method" of MCP
    kind: str  # of the source: "python", "mcp-stdio", "mcp-http" or "http"
    raw: dict[str, Json]
    pin: Digest  # of JCS(raw)
    dialect: Dialect
    effect: Effect
    labels: tuple[str, ...]
    destinations: tuple[str, ...]
    wall_ms: int
    output_bytes: int
    key_required: bool
    closed: bool
    accept_formats: tuple[str, ...]
    nullable: tuple[str, ...]  # arguments that may be null although the definition does not say so
    input: Schema
    output: Schema | None
    operation: Operation | None  # of kind "http"

    @property
    def input_schema(self) -> dict[str, Json]:
        return self.input.enforced

    @classmethod
    def from_json(cls, value: Json, *, server: str, kind: str) -> "Tool":
        """Raises `Refused(ERR_SCHEMA_UNSAFE)` for a schema and `EvidenceError` for a field that may not be pinned."""
        body = fields.exact(value, _ENTRY, {"nullable"})
        name, raw = fields.text(body, "name"), fields.typed(body, "raw", dict)
        _check_definition(name, raw, kind)
        limits = fields.exact(body["limits"], {"wall_ms", "output_bytes"})
        accept = names(body, "accept_formats", _FORMAT)
        closed = fields.typed(body, "closed", bool)
        pin, dialect = fields.digest(body, "pin"), fields.one_of(body, "dialect", Dialect)
        if pin != digest(canonical(raw)):
            raise fields.wrong(f"the pin of `{name}` is not the digest of its definition")
        if dialect is not dialect_of(fields.typed(raw, "inputSchema", dict)):
            raise fields.wrong(f"the dialect of `{name}` is not what its `inputSchema` says")
        effect = fields.one_of(body, "effect", Effect)
        nullable = fields.names(body, "nullable", LIST_MAX) if "nullable" in body else ()
        return cls(
            name=f"{server}/{name}",
            kind=kind,
            raw=raw,
            pin=pin,
            dialect=dialect,
            effect=effect,
            labels=names(body, "labels", _LABEL),
            destinations=names(body, "destinations", _DESTINATION),
            wall_ms=_within(limits, "wall_ms", WALL_MS_MAX),
            output_bytes=_within(limits, "output_bytes", OUTPUT_BYTES_MAX),
            key_required=fields.typed(body, "require_key", bool),
            closed=closed,
            accept_formats=accept,
            nullable=nullable,
            input=_pinned(_with_nulls(raw, nullable, name), "inputSchema", name, closed, accept),
            output=_pinned(raw, "outputSchema", name, closed, accept) if "outputSchema" in raw else None,
            operation=_operation(name, raw, effect) if kind == "http" else None,
        )


def entry(
    name: str,
    raw: Mapping[str, Any],
    *,
    effect: Effect | str = Effect.DESTRUCTIVE,  # whoever does not say what a tool does to the world approves every call of it
    labels: Iterable[str] = (),
    destinations: Iterable[str] = (),
    wall_ms: int = WALL_MS,
    output_bytes: int = OUTPUT_BYTES,
    require_key: bool = False,
    closed: bool = True,
    accept_formats: Iterable[str] = (),
) -> dict[str, Any]:
    """A tool entry as it stands in a catalogue; `raw` is the upstream's definition. `Catalog.with_server` is what vets it."""
    definition = dict(raw)
    schema = definition.get("inputSchema")
    return {
        "name": name,
        "raw": definition,
        "pin": digest(canonical(definition)),
        "dialect": dialect_of(schema if type(schema) is dict else {}).value,
        "effect": str(effect),
        "labels": sorted(set(labels)),
        "limits": {"wall_ms": wall_ms, "output_bytes": output_bytes},
        "destinations": sorted(set(destinations)),
        "require_key": require_key,
        "closed": closed,
        "accept_formats": sorted(set(accept_formats)),
    }


def _check_definition(name: str, raw: dict[str, Json], kind: str) -> None:
    if kind in KINDS and name in METHODS:
        if canonical(raw) != METHODS[name].document:
            raise fields.wrong(f"the definition of the method `{name}` is not the one that is known here")
        return
    if not _NAME.match(name) or raw.get("name") != name:
        raise fields.wrong(f"`{name[:64]}` is not the name of a tool, or not the one in its definition")
    if kind == "python":
        fields.exact(raw, {"name", "description", "inputSchema"}, {"outputSchema"})
        fields.typed(raw, "description", str)
    if kind == "http":
        fields.exact(raw, {"name", "description", "inputSchema", "operation"}, {"outputSchema"})
        fields.typed(raw, "description", str)
    if fields.typed(raw, "inputSchema", dict).get("type") != "object":
        raise fields.wrong(f'the `inputSchema` of `{name}` does not say `"type":"object"`')


def _operation(name: str, raw: dict[str, Json], effect: Effect) -> Operation:
    try:
        operation = Operation.from_json(raw["operation"], fields.typed(raw, "inputSchema", dict))
    except EvidenceError as error:
        raise fields.wrong(f"the operation of `{name}`: {error.detail}") from None
    if operation.retry and effect is not Effect.READ and operation.idempotency_header is None:
        raise fields.wrong(f"`{name}` is not `read` and has no `idempotency_header`: it may not be sent again (`retry`)")
    return operation


def _with_nulls(raw: dict[str, Json], nullable: tuple[str, ...], name: str) -> dict[str, Json]:
    """The definition, where those arguments may be null: clients of models send that for what they leave out."""
    if not nullable:
        return raw
    schema = fields.typed(raw, "inputSchema", dict)
    described, required = schema.get("properties"), schema.get("required", [])
    if (
        type(described) is not dict
        or type(required) is not list
        or not set(nullable) <= described.keys() - set(map(str, required))
    ):
        raise fields.wrong(f"`nullable` of `{name}` names what is no argument that may be left out")
    if b'"#/properties' in canonical(schema):
        raise fields.wrong(f"an argument of `{name}` is referred to from elsewhere, and cannot be null as well")
    null: dict[str, Json] = {"type": "null"}
    wider: dict[str, Json] = {key: {"anyOf": [one, null]} if key in nullable else one for key, one in described.items()}
    return {**raw, "inputSchema": {**schema, "properties": wider}}


def _pinned(raw: dict[str, Json], which: str, name: str, closed: bool, accept: tuple[str, ...]) -> Schema:
    try:
        return Schema.pin(raw[which], closed=closed, accept_formats=accept)
    except Refused as refused:
        raise Refused(refused.reason, f"`{which}` of `{name}`: {refused.detail}", sub=refused.sub, hint=refused.hint) from None


def names(body: Mapping[str, Json], name: str, pattern: "re.Pattern[str]") -> tuple[str, ...]:
    """The field `name`: a short sorted list of strings that match, without repeats."""
    names = fields.strings(body, name)
    if len(names) > LIST_MAX or not all(pattern.match(item) for item in names):
        raise fields.wrong(f"field `{name}` has more than {LIST_MAX} items, or one that cannot stand there")
    check_sorted(names, name)
    return names


def check_sorted(names: Sequence[str], what: str) -> None:
    if list(names) != sorted(set(names)):
        raise fields.wrong(f"`{what}` is not sorted, or names something twice")


def _within(body: Mapping[str, Json], name: str, most: int) -> int:
    value = fields.count(body, name)
    if not 0 < value <= most:
        raise fields.wrong(f"field `{name}` is not between 1 and {most}")
    return value
