"""The operations of an HTTP API, from the file that a person wrote: proposed as they stand, pinned only by a signature."""

from collections.abc import Sequence
from typing import Any

from helm_ai_kernel.pep.catalog import BYTES_MAX, EMPTY, entry, server_doc
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse

from . import openapi
from .config import HttpUpstream


def read(server: str, upstream: HttpUpstream) -> tuple[dict[str, Any], dict[str, Refused]]:
    """The proposed document, and what has no one meaning, by name or by its place in the list.

    Raises `OutsideError` for a file that cannot be read, `Refused` for one that is no list, or a service that cannot be pinned.
    """
    tools: dict[str, dict[str, Any]] = {}
    listed, refused = _listed(upstream)
    for index, raw in enumerate(listed):
        name = raw.get("name") if isinstance(raw, dict) else None
        if not isinstance(raw, dict) or not isinstance(name, str) or not name:
            refused[f"#{index}"] = Refused(Reason.ERR_UPSTREAM_SHAPE, "a definition without a name", sub="tool_definition")
        elif name in tools or name in refused:
            tools.pop(name, None)
            refused[name] = Refused(Reason.ERR_UPSTREAM_SHAPE, f"`{name}` is listed twice", sub="listed_twice")
        else:
            tools[name] = entry(name, raw)
    source = {
        "kind": "http",
        "base": upstream.url,
        "addresses": sorted(upstream.addresses),
        "secrets": dict(upstream.secrets),
        "ca": upstream.ca,
    }
    EMPTY.with_server(server_doc(server, source, []))  # vets where it is; each tool is judged by itself
    return server_doc(server, source, list(tools.values())), refused


def _listed(upstream: HttpUpstream) -> tuple[Sequence[Json], dict[str, Refused]]:
    file = upstream.operations
    try:
        with file.open("rb") as opened:
            data = opened.read(BYTES_MAX + 1)
    except OSError as error:
        cause = (error.strerror or "it cannot be read").lower()
        hint = "write a JSON list of definitions there: docs/spec/connector-http.md"
        raise OutsideError(Reason.ERR_TOOL_NOT_ALLOWED, f"`{file}`: {cause}", hint=hint) from None
    try:
        value = parse(data, bytes_max=BYTES_MAX)
    except Refused as error:
        raise Refused(Reason.ERR_SCHEMA_UNSAFE, f"`{file}` is not strict JSON: {error.detail}", hint=error.hint) from None
    if isinstance(value, dict) and "openapi" in value:
        return openapi.definitions(value)
    if not isinstance(value, list):
        hint = "write a list of definitions: docs/spec/connector-http.md"
        raise Refused(Reason.ERR_SCHEMA_UNSAFE, f"`{file}` is neither a JSON list nor an OpenAPI document", hint=hint)
    return value, {}
