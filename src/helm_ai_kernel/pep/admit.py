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
SUBJECT_MAX = 256  # characters of the name of whom a call is about: an account, an address, a case

_FIELDS = frozenset({"tool", "arguments"})
_NAMES = {"idempotency_key": KEY_MAX, "subject": SUBJECT_MAX}  # optional: each a string of at least one character


def admit(raw: bytes, catalog: Catalog) -> Admitted:
    """`raw` is the execute request `{"tool": "server/tool", "arguments": {…}, "idempotency_key"?: "…", "subject"?: "…"}`."""
    try:
        body = parse(raw)
    except Refused as refused:
        return Refusal(refused.reason, refused.sub, raw, hint=refused.hint)
    if type(body) is not dict or (body.keys() != _FIELDS and body.keys() - _NAMES != _FIELDS):
        return _misshapen(raw, "fields", "send `tool`, `arguments` and, if wanted, `idempotency_key` and `subject`")
    name, view = body["tool"], body["arguments"]
    if type(name) is not str:
        return _misshapen(raw, "tool", "`tool` is a string, `server/tool`")
    if type(view) is not dict:
        return _misshapen(raw, "arguments", "`arguments` is an object, not a string that holds one")
    named: dict[str, str] = {}
    for optional, chars_max in _NAMES.items():  # in this order: of two faults a replay must find the same one
        if optional in body:
            value = body[optional]
            if type(value) is not str or not 0 < len(value) <= chars_max:
                return _misshapen(raw, optional, f"`{optional}` is a string of 1 to {chars_max} characters")
            named[optional] = value
    return _checked(raw, name, view, named.get("idempotency_key"), named.get("subject"), catalog)


def with_key(raw: bytes, key: str) -> bytes:
    """The request with the idempotency key that came beside it, as one request. Raises `Refused` where it names another itself.

    What is no request stays as it is, and `admit` says so.
    """
    try:
        body = parse(raw)
    except Refused:
        return raw
    if type(body) is not dict:
        return raw
    if body.get("idempotency_key", key) != key:
        detail = "the request and its header name two idempotency keys"
        raise Refused(Reason.ERR_UPSTREAM_SHAPE, detail, hint="send one of them")
    return canonical({**body, "idempotency_key": key})


def _checked(raw: bytes, name: str, view: dict[str, Json], key: str | None, subject: str | None, catalog: Catalog) -> Admitted:
    args = canonical(view)
    tool = catalog.tools.get(name)
    if tool is None:
        hint = "names are compared byte for byte: list the tools, or pin this one"
        return Refusal(Reason.ERR_TOOL_NOT_ALLOWED, "", raw, tool=name[:NAME_MAX], args=args, subject=subject, hint=hint)
    violation = tool.input.violation(view, len(args))
    if violation is not None:
        return Refusal(
            violation.reason, violation.sub, raw, tool=name, pin=tool.pin, args=args, effect=tool.effect, subject=subject,
            hint=violation.hint,
        )  # fmt: skip
    unplaced = None if tool.operation is None else tool.operation.unplaced(view, key)
    if unplaced is not None:
        return Refusal(
            Reason.ERR_SCHEMA_VIOLATION, unplaced.sub, raw, tool=name, pin=tool.pin, args=args, effect=tool.effect,
            subject=subject, hint=unplaced.hint,
        )  # fmt: skip
    return Call(
        tool=name,
        pin=tool.pin,
        effect=tool.effect,
        args=args,
        view=view,
        key=key,
        subject=subject,
        key_required=tool.key_required,
        labels=tool.labels,
        destinations=tool.destinations,
        wall_ms=tool.wall_ms,
        output_bytes=tool.output_bytes,
    )


def _misshapen(raw: bytes, sub: str, hint: str) -> Refusal:
    return Refusal(Reason.ERR_UPSTREAM_SHAPE, sub, raw, hint=hint)
