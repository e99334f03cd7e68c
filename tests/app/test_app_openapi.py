"""What an OpenAPI document says with one meaning becomes an operation that can be pinned; the rest is refused by name."""

import json
from typing import Any

import pytest

from helm_ai_kernel.app.openapi import DEPTH_MAX, NODES_MAX, definitions
from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, entry, server_doc
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical

SOURCE = {"kind": "http", "base": "https://pets.example/v3", "addresses": ["global"], "secrets": {}, "ca": None}
PETS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "https://somewhere-else.example"}],
    "paths": {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "summary": "All pets.",
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}, "description": "At most."},
                    {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "x-trace", "in": "header", "schema": {"type": "string"}},
                ],
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pets"}}}}},
            },
            "post": {
                "operationId": "addPet",
                "description": "Adds one.",
                "requestBody": {"$ref": "#/components/requestBodies/Pet"},
                "responses": {"201": {"content": {"application/json": {"schema": {"type": "object"}}}}, "200": {}},
            },
        },
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/id"}],
            "delete": {"operationId": "dropPet", "responses": {"204": {"description": ""}}},
        },
    },
    "components": {
        "parameters": {"id": {"name": "id", "in": "path", "required": True, "schema": {"$ref": "#/components/schemas/Id"}}},
        "requestBodies": {"Pet": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
        "schemas": {
            "Id": {"type": "string", "maxLength": 8, "example": "7"},
            "Pet": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "of": {"$ref": "#/components/schemas/Id", "description": "Whose."}},
                "required": ["name"], "xml": {"name": "pet"},
            },
            "Pets": {"type": "object", "properties": {"pets": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}}},
        },
    },
}  # fmt: skip


def pinned(doc: dict[str, Any]) -> Catalog:
    made, refused = definitions(doc)
    assert not refused
    return EMPTY.with_server(server_doc("s", SOURCE, [entry(str(raw["name"]), raw, effect="read") for raw in made]))


def placed(catalog: Catalog, tool: str, /, **args: Any) -> str:
    call = admit(canonical({"tool": f"s/{tool}", "arguments": args}), catalog)
    if not isinstance(call, Call):
        return call.sub
    operation = catalog.tools[f"s/{tool}"].operation
    assert operation is not None
    request = operation.place(args)
    return " ".join([request.method, request.target, *([] if request.body is None else [request.body.decode()])])


def changed(path: str, method: str, **change: Any) -> dict[str, Any]:
    doc: dict[str, Any] = json.loads(json.dumps(PETS))
    doc["paths"][path][method] |= change
    return doc


def why_not(doc: dict[str, Any], name: str) -> str:
    made, refused = definitions(doc)
    assert len(made) == 2
    return refused[name].detail


def test_a_document_becomes_operations_that_can_be_pinned_and_called() -> None:
    catalog = pinned(PETS)
    assert placed(catalog, "listPets", limit=5, tag=["a", "b"]) == "GET /pets?limit=5&tag=a&tag=b"
    assert placed(catalog, "listPets", limit=500) == "maximum at /properties/limit/maximum"
    assert placed(catalog, "addPet", name="Rex", of="7") == 'POST /pets {"name":"Rex","of":"7"}'
    assert placed(catalog, "addPet", of="7") == "required at /required"
    assert placed(catalog, "dropPet", id="a b") == "DELETE /pets/a%20b"
    assert placed(catalog, "dropPet", id="123456789") == "maxLength at /properties/id/maxLength"
    listing, dropping = catalog.tools["s/listPets"], catalog.tools["s/dropPet"]
    assert listing.raw["description"] == "All pets." and dropping.output is None
    assert catalog.tools["s/addPet"].output is None  # one of two answers that are there has no such body
    assert listing.output is not None
    assert listing.output.violation({"pets": [{"name": 1}]}, 20) is not None
    assert "$ref" not in json.dumps(listing.raw) and "example" not in json.dumps(dropping.raw["inputSchema"])


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"operationId": None}, "operationId"),
        ({"servers": [{"url": "https://evil.example"}]}, "servers"),
        ({"parameters": [{"name": "k", "in": "header", "required": True, "schema": {}}]}, "`k` is sent in a header"),
        ({"parameters": [{"name": "k", "in": "query", "style": "deepObject", "schema": {}}]}, "another way"),
        ({"parameters": [{"name": "k", "in": "query", "explode": False, "schema": {}}]}, "another way"),
        ({"parameters": [{"name": "k", "in": "query", "allowReserved": True, "schema": {}}]}, "another way"),
        ({"parameters": [{"name": "k", "in": "query", "content": {"application/json": {}}}]}, "another way"),
        ({"parameters": [{"name": "name", "in": "query", "schema": {"type": "string"}}]}, "the name of a parameter"),
        ({"parameters": [{"$ref": "other.json#/x"}]}, "same document"),
        ({"parameters": [{"$ref": "#/components/parameters/none"}]}, "not there"),
        ({"requestBody": {"content": {"multipart/form-data": {}}}}, "application/json"),
        ({"requestBody": {"content": {"application/json": {"schema": {"type": "array"}}}}}, "properties"),
        ({"requestBody": {"content": {"application/json": {"schema": {"oneOf": []}}}}}, "properties"),
        ({"requestBody": 5}, "not an object"),
    ],
)
def test_what_has_no_one_meaning_is_refused_by_name_and_the_rest_is_read(change: dict[str, Any], cause: str) -> None:
    assert cause in why_not(changed("/pets", "post", **change), "POST /pets")


def test_a_schema_that_holds_itself_or_grows_without_end_is_refused() -> None:
    looped = changed("/pets", "post")
    looped["components"]["schemas"]["Id"] = {"type": "object", "properties": {"in": {"$ref": "#/components/schemas/Pet"}}}
    assert "holds itself" in definitions(looped)[1]["POST /pets"].detail
    doubling = changed("/pets", "post")
    schemas = doubling["components"]["schemas"]
    for n in range(20):
        schemas[f"S{n}"] = {"anyOf": [{"$ref": f"#/components/schemas/S{n + 1}"}] * 2}
    schemas["S20"] = {"type": "string"}
    schemas["Id"] = {"$ref": "#/components/schemas/S0"}
    assert str(NODES_MAX) in definitions(doubling)[1]["POST /pets"].detail
    endless = changed("/pets", "post", requestBody={"$ref": "#/components/requestBodies/Pet"})
    endless["components"]["requestBodies"]["Pet"] = {"$ref": "#/components/requestBodies/Pet"}
    assert "do not end" in definitions(endless)[1]["POST /pets"].detail


def test_a_long_chain_of_references_is_refused_and_a_short_one_is_not() -> None:
    for length, deep in ((10, False), (400, True)):
        chained = changed("/pets", "post")
        schemas = chained["components"]["schemas"]
        for n in range(length):
            schemas[f"S{n}"] = {"type": "object", "properties": {"x": {"$ref": f"#/components/schemas/S{n + 1}"}}}
        schemas[f"S{length}"] = {"type": "string"}
        schemas["Id"] = {"$ref": "#/components/schemas/S0"}
        made, refused = definitions(chained)
        assert [raw["name"] for raw in made] == ([] if deep else ["listPets", "addPet", "dropPet"])
        assert not deep or f"deeper than {DEPTH_MAX}" in refused["POST /pets"].detail
    straight = changed("/pets", "post")
    schemas = straight["components"]["schemas"]
    schemas |= {f"S{n}": {"$ref": f"#/components/schemas/S{n + 1}"} for n in range(400)}
    schemas["Id"] = {"$ref": "#/components/schemas/S0"}
    assert f"deeper than {DEPTH_MAX}" in definitions(straight)[1]["POST /pets"].detail


def test_what_stands_beside_a_reference_applies_too() -> None:
    beside = changed("/pets", "post")
    beside["components"]["schemas"]["Pet"]["properties"]["of"] = {"$ref": "#/components/schemas/Id", "minLength": 3}
    catalog = pinned(beside)
    assert placed(catalog, "addPet", name="Rex", of="7").startswith("minLength at ")
    assert placed(catalog, "addPet", name="Rex", of="123456789").startswith("maxLength at ")


def test_what_is_no_operation_that_a_tool_can_be_is_refused_by_name_too() -> None:
    doc = changed("/pets", "post")
    doc["paths"]["/pets/{id}"]["servers"] = [{"url": "https://evil.example"}]
    doc["paths"] |= {"/a": {"$ref": "#/components/pathItems/a"}, "/b": {"head": {"operationId": "b"}, "get": 5}, "/c": 5}
    made, refused = definitions(doc)
    assert [raw["name"] for raw in made] == ["listPets", "addPet"]
    assert list(refused) == ["DELETE /pets/{id}", "* /a", "GET /b", "HEAD /b", "* /c"]


def test_another_version_is_not_read() -> None:
    with pytest.raises(Refused, match=r"3\.1 is read"):
        definitions(PETS | {"openapi": "3.0.3"})
