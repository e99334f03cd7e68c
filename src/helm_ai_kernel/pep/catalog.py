"""What may be called: every tool with the definition that a person pinned.

A catalogue is one canonical document and has one digest; policies, receipts and replays name it by that. Nothing of it comes
from the upstream at run time: a tool that is not here does not exist. `docs/spec/catalog.md` is the specification.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical

from .service import Service
from .tool import Tool, check_sorted, entry, names
from .vet import refuse

__all__ = ["EMPTY", "Catalog", "Tool", "entry", "server_doc"]

BYTES_MAX = 1 << 23  # a server of 100 tools is about 200 KiB
WORDS_MAX = 64  # of a command line
INSTRUCTIONS_BYTES_MAX = 1 << 16  # a person reads them, and so does a model with every conversation

_SERVER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_MODULE = re.compile(r"[A-Za-z_]\w{0,127}(\.[A-Za-z_]\w{0,127}){0,15}\Z", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_WORD = re.compile(r"[^\0]{1,4096}\Z")


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """Every pinned tool by its name `server/tool`. `sources` says where the hands of each server are."""

    digest: Digest
    document: bytes  # canonical
    tools: Mapping[str, Tool]
    sources: Mapping[str, dict[str, Json]]

    @classmethod
    def from_bytes(cls, document: bytes) -> "Catalog":
        """Vets everything; raises `Refused(ERR_SCHEMA_UNSAFE)`, or `ERR_JSON_NOT_IJSON` for what is not strict JSON."""
        value = parse(document, bytes_max=BYTES_MAX)
        try:
            body = fields.exact(value, {"v", "servers"})
            _check_version(body)
            if canonical(value) != document:
                raise fields.wrong("the document is not the canonical form of what it says")
            servers = [_Server.from_json(item) for item in fields.typed(body, "servers", list)]
            check_sorted([server.name for server in servers], "servers")
        except EvidenceError as error:
            refuse("catalog", error.detail, "pin the tool again, or correct the file: `docs/spec/catalog.md`")
        tools = {tool.name: tool for server in servers for tool in server.tools}
        sources = {server.name: server.source for server in servers}
        return cls(digest(document), document, MappingProxyType(tools), MappingProxyType(sources))

    def to_bytes(self) -> bytes:
        return self.document

    def of(self, server: str) -> dict[str, Tool]:
        """The tools of one server, by the name that it knows itself."""
        mine = [tool for tool in self.tools.values() if tool.name.startswith(f"{server}/")]
        return {tool.name.split("/", 1)[1]: tool for tool in mine}

    def with_server(self, doc: Mapping[str, Any]) -> "Catalog":
        """The catalogue with that server added, or in the place of the one of its name. Takes a copy; raises `Refused`."""
        return Catalog._of([*self.without_server(str(doc.get("server")))._docs(), dict(doc)])

    def without_server(self, name: str) -> "Catalog":
        return Catalog._of([doc for doc in self._docs() if doc["server"] != name])

    def _docs(self) -> list[dict[str, Any]]:
        body: Any = parse(self.document, bytes_max=BYTES_MAX)
        return list(body["servers"])

    @classmethod
    def _of(cls, docs: list[dict[str, Any]]) -> "Catalog":
        ordered: list[Any] = sorted(docs, key=lambda doc: str(doc.get("server")))
        return cls.from_bytes(canonical({"v": 1, "servers": ordered}))


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    source: dict[str, Json]
    tools: list[Tool]

    @classmethod
    def from_json(cls, value: Json) -> "_Server":
        body = fields.exact(value, {"v", "server", "source", "tools"})
        _check_version(body)
        name, source = fields.text(body, "server"), _source(body["source"])
        if not _SERVER.match(name):
            raise fields.wrong(f"`{name[:64]}` is not the name of a server: 1 to 64 lowercase letters, digits, `_` and `-`")
        tools = [Tool.from_json(item, server=name, kind=str(source["kind"])) for item in fields.typed(body, "tools", list)]
        check_sorted([tool.name for tool in tools], "tools")
        if source["kind"] == "http":
            _check_headers(Service.from_json(body["source"]), tools)
        return cls(name, source, tools)


def server_doc(server: str, source: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A server of the catalogue, as it stands in `catalog/<server>.json`."""
    tools = sorted((dict(item) for item in entries), key=lambda item: str(item["name"]))
    return {"v": 1, "server": server, "source": dict(source), "tools": tools}


def _source(value: Json) -> dict[str, Json]:
    kind = fields.text(value, "kind") if type(value) is dict else ""
    if kind == "python":
        body = fields.exact(value, {"kind"}, {"module"})
        if "module" in body and not _MODULE.match(fields.text(body, "module")):
            raise fields.wrong("field `module` is not a dotted name")
        return body
    if kind == "mcp-stdio":
        body = fields.exact(value, {"kind", "command", "env"}, {"instructions"})
        words = fields.strings(body, "command")
        if not 0 < len(words) <= WORDS_MAX or not all(_WORD.match(word) for word in words):
            raise fields.wrong(f"field `command` is not a list of 1 to {WORDS_MAX} words")
        names(body, "env", _VARIABLE)
        _check_instructions(body)
        return body
    if kind == "http" and type(value) is dict:
        Service.from_json(value)
        return value
    if kind == "mcp-http" and type(value) is dict:
        Service.of_mcp(value)
        _check_instructions(value)
        return value
    raise fields.wrong(f"the source kind `{kind[:64]}` is not known here: `python`, `mcp-stdio`, `mcp-http` or `http`")


def _check_instructions(source: Mapping[str, Json]) -> None:
    """What the server tells a model of itself, as pinned; a server that says nothing has no such field."""
    if "instructions" in source and not fields.text(source, "instructions", bytes_max=INSTRUCTIONS_BYTES_MAX):
        raise fields.wrong("an empty `instructions` is left out")


def _check_headers(service: Service, tools: Sequence[Tool]) -> None:
    """No operation sets a header that a secret is sent in."""
    secret = {name for name, _ in service.secrets}
    for tool in tools:
        if tool.operation is not None and secret & {*dict(tool.operation.headers), tool.operation.idempotency_header}:
            raise fields.wrong(f"the operation of `{tool.name}` sets a header that holds a secret")


def _check_version(body: Mapping[str, Json]) -> None:
    if fields.typed(body, "v", int) != 1:
        raise fields.wrong("field `v` is not 1")


EMPTY = Catalog.from_bytes(b'{"servers":[],"v":1}')
