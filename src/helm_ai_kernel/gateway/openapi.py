"""What `/openapi.json` says: every route of both planes, the statuses that it answers with, and the form of each body.

A test walks it: each route of the application is here, each that is here answers, and with nothing that is not said.
"""

from collections.abc import Mapping

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import Kind

Schema = dict[str, Json]

VERSION = "1"  # of what is said here; a route or a field that goes makes another
_DIGEST: Schema = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_HEX32: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_ANY: Schema = {}
_TEXT_OF: Schema = {"type": "string"}
_VERDICT: Schema = {"type": "string", "enum": ["ALLOW", "DENY", "ESCALATE"]}


def _object(required: Mapping[str, Json], optional: Mapping[str, Json] | None = None, *, closed: bool = True) -> Schema:
    told: Schema = {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}}
    return {**told, "additionalProperties": False} if closed else told


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_PLACE: Schema = {"leaf": _DIGEST, "index": {"type": "integer"}, "session": _HEX32, "seq": {"type": "integer"}}
_SCHEMAS: dict[str, Json] = {
    "Reason": {"type": "string", "enum": [reason.value for reason in Reason]},
    "Place": _object(_PLACE),
    "Helm": _object(
        {"verdict": _VERDICT, "reason": _ref("Reason"), "hint": _TEXT_OF},
        {
            "rules": {"type": "array", "items": {"type": "string"}},
            "receipt": _ref("Place"),
            "outcome": {"anyOf": [_object({**_PLACE, "status": {"type": "string"}}), {"type": "null"}]},
            "checkpoint": {"type": "string"},
            "salts": _object({}, {"arguments": {"type": "string"}, "output": {"type": "string"}}),
            "sub": {"type": "string"},
            "approval": _object({"id": _DIGEST, "expires": {"type": "string"}, "url": {"type": "string"}}),
        },
        closed=False,
    ),
    "Refusal": _object({
        "error": _object({"message": _TEXT_OF, "type": {"type": "string", "enum": ["helm_refused"]}, "code": _ref("Reason")}),
        "helm": _ref("Helm"),
    }),
    "Call": _object(
        {"tool": {"type": "string"}, "arguments": {"type": "object"}},
        {"idempotency_key": {"type": "string", "minLength": 1, "maxLength": 256}, "subject": {"type": "string"}},
    ),
    "Answer": _object({"result": _ANY, "helm": _ref("Helm")}),
    "Waiting": _object({"helm": _ref("Helm")}),
    "Verdict": _object({"helm": _ref("Helm")}, {"result": _ANY}),  # of a call that was reported before: what was told of it
    "Capabilities": _object({
        "principal": {"type": "string"},
        "tools": {"type": "array", "items": _object({"name": _TEXT_OF, "inputSchema": {"type": "object"}}, closed=False)},
    }),
    "Receipt": _object({"index": {"type": "integer"}, "leaf": _DIGEST, "record": {"type": "object"}}),
    "Receipts": _object({
        "after": {"type": ["integer", "null"]}, "receipts": {"type": "array", "items": _ref("Receipt")},
    }),
    "Statement": _object({
        "statement": {"type": "object"},
        "documents": {
            "type": "array",
            "items": _object({"name": {"type": "string"}, "content": {"type": "string", "contentEncoding": "base64"}}),
        },
    }),
    "Challenge": _object({"nonce": _HEX32}),
    "Approver": _object({"key": {"type": "string", "minLength": 1, "maxLength": 256}}),
    "Freeze": _object({name: {"type": "string", "minLength": 1, "maxLength": 256} for name in ("scope", "by")}),
    "Export": _object({}, {"attachments": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}, "reason": _ref("Reason"), "detail": {"type": "string"}}),
    "Alive": _object({"alive": {"type": "boolean"}}),
    "Standing": {"type": "object"},
}  # fmt: skip

# of the front, of who may use a plane, and of a route that is given what it does not take
_FRONT = (400, 401, 405, 413, 415, 421, 431, 503)
_DATA = (*_FRONT, 403, 409, 422, 429, 500, 501, 502)
_CONTROL = (*_FRONT, 403, 404, 409, 500)


def _route(
    summary: str, answers: Mapping[int, Schema], no: tuple[int, ...], *, body: str = "", parameters: tuple[Schema, ...] = ()
) -> Schema:  # fmt: skip
    said: dict[str, Json] = {str(code): {"description": "answered", "content": content} for code, content in answers.items()}
    refusal: Schema = {"description": "refused", "content": _json("Refusal")}
    said |= {str(code): refusal for code in no if code not in answers}
    route: Schema = {"summary": summary, "responses": said}
    if parameters:
        route["parameters"] = [*parameters]
    if body:
        route["requestBody"] = {"required": body != "Export", "content": _json(body)}
    return route


def _json(name: str) -> Schema:
    return {"application/json": {"schema": _ref(name)}}


def _parameter(name: str, schema: Schema, where: str = "query") -> Schema:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


_HEADERS = (
    _parameter("Idempotency-Key", {"type": "string", "minLength": 1, "maxLength": 256}, "header"),
    _parameter("Helm-Session", _HEX32, "header"),
)
_TEXT: Schema = {"text/plain": {"schema": {"type": "string"}}}
_INDEX: Schema = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
_LISTED = (
    _parameter("after", _INDEX),
    _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}),
    _parameter("session", _HEX32),
    _parameter("kind", {"type": "string", "enum": [kind.value for kind in Kind]}),
)
DATA: dict[str, Schema] = {
    "/mcp/v1/execute": {"post": _route(
        "one governed call", {200: _json("Answer"), 202: _json("Waiting")}, _DATA, body="Call", parameters=_HEADERS
    )},
    "/mcp/v1/capabilities": {"get": _route("the tools that may be called", {200: _json("Capabilities")}, _DATA)},
    "/v1/evaluate": {"post": _route(
        "a verdict without a dispatch", {200: _json("Verdict"), 202: _json("Waiting")}, _DATA, body="Call",
        parameters=(_parameter("effect_by", {"type": "string", "enum": ["client", "none"]}), *_HEADERS),
    )},
}  # fmt: skip
CONTROL: dict[str, Schema] = {
    "/v1/receipts": {"get": _route("receipts in log order", {200: _json("Receipts")}, _CONTROL, parameters=_LISTED)},
    "/v1/receipts/tail": {"get": _route(
        "receipts as they become durable, as server-sent events",
        {200: {"text/event-stream": {"schema": {"type": "string"}}}},
        _CONTROL,
        parameters=(_parameter("after", _INDEX), _parameter("Last-Event-ID", _INDEX, "header")),
    )},
    "/v1/receipts/{leaf}": {"get": _route(
        "one receipt", {200: _json("Receipt")}, _CONTROL, parameters=(_parameter("leaf", _DIGEST, "path"),)
    )},
    "/v1/evidence/export": {"post": _route(
        "the evidence pack of the log",
        {200: {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}},
        _CONTROL,
        body="Export",
    )},
    "/v1/statements": {"post": _route("a signed statement takes effect", {200: _json("Receipt")}, _CONTROL, body="Statement")},
    **{f"/v1/{what}": {"get": _route(f"the {what} in force", {200: _json("Standing")}, _CONTROL)}
       for what in ("trust", "tools", "policy", "approvals")},
    "/v1/approvals/{call}/challenge": {"post": _route(
        "a nonce with which a key may say one thing of a held call", {200: _json("Challenge")}, _CONTROL, body="Approver",
        parameters=(_parameter("call", _DIGEST, "path"),),
    )},
    "/v1/freeze": {"post": _route(
        "stop everything, a server, an agent or a session", {200: _json("Receipt")}, _CONTROL, body="Freeze"
    )},
    "/checkpoint": {"get": _route("the newest checkpoint, a signed note", {200: _TEXT}, _CONTROL)},
    "/healthz": {"get": {**_route("the process answers", {200: _json("Alive")}, _CONTROL), "security": []}},
    "/readyz": {"get": _route("calls would be executed", {200: _json("Ready"), 503: _json("Ready")}, _CONTROL)},
    "/metrics": {"get": _route("counters", {200: _TEXT}, _CONTROL)},
    "/verify": {"get": {**_route(
        "the page that verifies packs", {200: {"text/html": {"schema": {"type": "string"}}}}, _CONTROL
    ), "security": []}},
    "/openapi.json": {"get": _route("this", {200: _json("Standing")}, _CONTROL)},
}  # fmt: skip


def document() -> Schema:
    """OpenAPI 3.1, canonical when it is sent."""
    schemes: Schema = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HELM AI Kernel",
            "version": VERSION,
            "description": "Agents have the data plane (execute, capabilities, evaluate), operators the control plane.",
        },
        "paths": {**DATA, **CONTROL},
        "components": {"schemas": _SCHEMAS, "securitySchemes": schemes},
        "security": [{"bearer": []}],
    }
