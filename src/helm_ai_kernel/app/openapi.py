"""An OpenAPI 3.1 document as definitions of operations. What it says in a way that has one meaning here becomes a tool; every
other operation is refused by name, with the cause, and can be written by hand.

A `$ref` is followed in the same document only, and inlined: the definition that is pinned holds all that it means.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from helm_ai_kernel.pep.keyword import EDGES, MAPS
from helm_ai_kernel.pep.operation import METHODS
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json

NODES_MAX = 4096  # of one operation's schemas, inlined; as many subschemas can be pinned
DEPTH_MAX = 24  # schemas in each other, and references on the way to one: each can be two levels of JSON, and 64 can be pinned
REFS_MAX = 16  # one behind the other
JSON = "application/json"

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_DROPPED = frozenset({"xml", "externalDocs", "example"})  # OpenAPI's own; they say nothing about values
_PLAIN = frozenset(
    {"type", "properties", "required", "additionalProperties", "title", "description", "deprecated", "default", "examples"}
)


def definitions(doc: Mapping[str, Json]) -> tuple[list[dict[str, Json]], dict[str, Refused]]:
    """Definitions as `operations` lists them, and what has no one meaning, by `METHOD path`."""
    if not str(doc.get("openapi")).startswith("3.1"):
        raise _refused(f"`openapi` is `{str(doc.get('openapi'))[:16]}`, and 3.1 is read")
    made: list[dict[str, Json]] = []
    refused: dict[str, Refused] = {}
    for path, item in _object(doc.get("paths", {}), "`paths`").items():
        for method in _METHODS if isinstance(item, dict) and "$ref" not in item else ("*",):
            if method != "*" and method not in _object(item, "the path"):
                continue
            try:
                made.append(_definition(_Reader(doc), method.upper(), path, _object(item, "the path")))
            except Refused as error:
                refused[f"{method.upper()} {path}"] = error
    return made, refused


class _Reader:
    """The schemas of one operation; together they are bounded."""

    def __init__(self, doc: Mapping[str, Json]) -> None:
        self._doc = doc
        self._nodes = 0

    def resolved(self, value: Json, what: str) -> dict[str, Json]:
        """`value` as an object, behind its references."""
        for _ in range(REFS_MAX):
            found = _object(value, what)
            if "$ref" not in found:
                return found
            value = self._at(found["$ref"])
        raise _refused(f"the references of {what} do not end")

    def schema(self, value: Json, trail: tuple[str, ...] = (), depth: int = 1) -> Any:
        """A copy with every `$ref` taken."""
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise _refused(f"its schemas have more than {NODES_MAX} parts when every `$ref` is taken")
        if max(depth, len(trail)) > DEPTH_MAX:
            raise _refused(f"its schemas are deeper than {DEPTH_MAX} when every `$ref` is taken")
        if not isinstance(value, dict):
            return value
        out = {name: self._keyword(name, inner, trail, depth + 1) for name, inner in value.items() if name not in _DROPPED}
        pointer = out.pop("$ref", None)
        if pointer is None:
            return out
        if str(pointer) in trail:
            raise _refused(f"the schema `{str(pointer)[:64]}` holds itself")
        target = self.schema(self._at(pointer), (*trail, str(pointer)), depth)
        if isinstance(target, dict) and out.keys() <= {"description", "title", "deprecated"}:
            return {**target, **out}
        return {"allOf": [target], **out} if "allOf" not in out else {"allOf": [target, {"allOf": out.pop("allOf")}], **out}

    def _keyword(self, name: str, value: Json, trail: tuple[str, ...], depth: int) -> Any:
        if name in MAPS and isinstance(value, dict):
            return {key: self.schema(inner, trail, depth) for key, inner in value.items()}
        if name in EDGES:
            several = value if isinstance(value, list) else None
            return self.schema(value, trail, depth) if several is None else [self.schema(one, trail, depth) for one in several]
        return value

    def _at(self, pointer: Json) -> Json:
        if not isinstance(pointer, str) or not pointer.startswith("#/"):
            raise _refused(f"`{str(pointer)[:64]}` is not in the same document")
        here: Json = dict(self._doc)
        for step in pointer[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(here, dict) or name not in here:
                raise _refused(f"`{pointer[:64]}` is not there")
            here = here[name]
        return here


def _definition(reader: _Reader, method: str, path: str, item: dict[str, Json]) -> dict[str, Json]:
    if method not in METHODS:
        raise _refused("it is no operation that a tool can be, or stands elsewhere")
    operation = _object(item[method.lower()], "the operation")
    name = operation.get("operationId")
    if not isinstance(name, str) or not name:
        raise _refused("it has no `operationId`, which is the name of the tool")
    if "servers" in item or "servers" in operation:
        raise _refused("it has `servers` of its own, and a service has one base")
    properties: dict[str, Json] = {}
    required: list[str] = []
    query: list[str] = []
    for parameter in _parameters(reader, item, operation):
        _place(reader, parameter, properties, required, query)
    body = "requestBody" in operation
    rest: dict[str, Json] = {}
    if body:
        rest = _body(reader, operation["requestBody"], properties, required)
    schema: dict[str, Json] = {"type": "object", "properties": properties, "required": [*sorted(required)], **rest}
    said = operation.get("description") or operation.get("summary") or ""
    made: dict[str, Json] = {"name": name, "description": said if isinstance(said, str) else "", "inputSchema": schema}
    made["operation"] = {
        "method": method, "path": path, "query": [*query], "headers": {}, "body": "rest" if body else "none", "retry": False,
    }  # fmt: skip
    output = _output(reader, _object(operation.get("responses", {}), "`responses`"))
    return made if output is None else {**made, "outputSchema": output}


def _parameters(reader: _Reader, item: dict[str, Json], operation: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """Those of the path, each replaced by the operation's of the same name and place."""
    found: dict[tuple[Json, Json], dict[str, Json]] = {}
    for holder in (item, operation):
        listed = holder.get("parameters", [])
        for value in listed if isinstance(listed, list) else ():
            parameter = reader.resolved(value, "a parameter")
            found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
    yield from found.values()


def _place(
    reader: _Reader, parameter: dict[str, Json], properties: dict[str, Json], required: list[str], query: list[str]
) -> None:
    name, place = str(parameter.get("name")), str(parameter.get("in"))
    if place in ("header", "cookie") and parameter.get("required") is not True:
        return  # it may be left out, and is
    usual = {"path": "simple", "query": "form"}.get(place)
    if usual is None:
        raise _refused(f"its parameter `{name[:64]}` is sent in a {place[:16]}; a constant header or a secret is written by hand")
    unusual = parameter.get("style", usual) != usual or parameter.get("explode", place == "query") is not (place == "query")
    if unusual or parameter.get("allowReserved") is True or "schema" not in parameter:
        raise _refused(f"its parameter `{name[:64]}` is written in another way than percent-encoded text")
    if name in properties:
        raise _refused(f"two parameters are called `{name[:64]}`")
    schema = reader.schema(parameter["schema"])
    if isinstance(schema, dict) and "description" in parameter:
        schema = {"description": parameter["description"], **schema}
    properties[name] = schema
    if parameter.get("required") is True:
        required.append(name)
    if place == "query":
        query.append(name)


def _body(reader: _Reader, value: Json, properties: dict[str, Json], required: list[str]) -> dict[str, Json]:
    """Its members become arguments beside the others; what it says of members that it does not name."""
    content = _object(reader.resolved(value, "its body").get("content"), "the content of its body")
    if JSON not in content:
        raise _refused(f"its body is not `{JSON}`")
    schema = reader.schema(_object(content[JSON], "its body").get("schema"))
    if not isinstance(schema, dict) or schema.get("type") != "object" or not schema.keys() <= _PLAIN:
        raise _refused("its body is not an object that is described by `properties`")
    members, needed = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(members, dict) or not isinstance(needed, list) or members.keys() & properties.keys():
        raise _refused("a member of its body has the name of a parameter")
    properties.update(members)
    required += [str(name) for name in needed]
    return {"additionalProperties": schema["additionalProperties"]} if "additionalProperties" in schema else {}


def _output(reader: _Reader, responses: dict[str, Json]) -> Json:
    """The schema of the one answer 2xx that there is; None where there are more, or one without JSON."""
    good = [value for status, value in responses.items() if status.startswith("2")]
    if len(good) != 1:
        return None
    content = reader.resolved(good[0], "an answer").get("content")
    held = content.get(JSON) if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(held, dict) or not isinstance(held.get("schema"), dict):
        return None
    schema: Json = reader.schema(held["schema"])
    return schema


def _object(value: Json, what: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise _refused(f"{what} is not an object")
    return value


def _refused(detail: str) -> Refused:
    return Refused(
        Reason.ERR_UPSTREAM_SHAPE, detail, sub="openapi", hint="write the definition by hand: docs/spec/connector-http.md"
    )
