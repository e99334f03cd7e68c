"""Bytes become a `Call` or the `Refusal` that they are; there is no third thing, and nothing here raises.

The arguments are made canonical once. Those bytes are validated, hashed, decided about and dispatched; nothing that comes after
parses the request again.
"""

from helm_ai_kernel.tcb.call import Admitted, Call, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .catalog import Catalog

NAME_MAX = 256  # what a receipt holds; no pinned tool has a name as long
KEY_MAX = 256  # characters of an idempotency key: room for any id that clients make

_FIELDS = frozenset({"tool", "arguments"})
_FIELDS_WITH_KEY = _FIELDS | {"idempotency_key"}


def admit(raw: bytes, catalog: Catalog) -> Admitted:
    """`raw` is the execute request `{"tool": "server/tool", "arguments": {…}, "idempotency_key"?: "…"}`."""
    try:
        body = parse(raw)
    except Refused as refused:
        return Refusal(refused.reason, refused.sub, raw, hint=refused.hint)
    if type(body) is not dict or (body.keys() != _FIELDS and body.keys() != _FIELDS_WITH_KEY):
        return _misshapen(raw, "fields", "send `tool`, `arguments` and, if wanted, `idempotency_key`")
    name, view, key = body["tool"], body["arguments"], body.get("idempotency_key")
    if type(name) is not str:
        return _misshapen(raw, "tool", "`tool` is a string, `server/tool`")
    if type(view) is not dict:
        return _misshapen(raw, "arguments", "`arguments` is an object, not a string that holds one")
    if "idempotency_key" in body and not (type(key) is str and 0 < len(key) <= KEY_MAX):
        return _misshapen(raw, "idempotency_key", f"`idempotency_key` is a string of 1 to {KEY_MAX} characters")
    return _checked(raw, name, view, key if type(key) is str else None, catalog)


def _checked(raw: bytes, name: str, view: dict[str, Json], key: str | None, catalog: Catalog) -> Admitted:
    args = canonical(view)
    tool = catalog.tools.get(name)
    if tool is None:
        hint = "names are compared byte for byte: list the tools, or pin this one"
        return Refusal(Reason.ERR_TOOL_NOT_ALLOWED, "", raw, tool=name[:NAME_MAX], args=args, hint=hint)
    violation = tool.input.violation(view, len(args))
    if violation is not None:
        return Refusal(
            violation.reason, violation.sub, raw, tool=name, pin=tool.pin, args=args, effect=tool.effect, hint=violation.hint
        )
    return Call(
        tool=name,
        pin=tool.pin,
        effect=tool.effect,
        args=args,
        view=view,
        key=key,
        key_required=tool.key_required,
        labels=tool.labels,
        destinations=tool.destinations,
        wall_ms=tool.wall_ms,
        output_bytes=tool.output_bytes,
    )


def _misshapen(raw: bytes, sub: str, hint: str) -> Refusal:
    return Refusal(Reason.ERR_UPSTREAM_SHAPE, sub, raw, hint=hint)
