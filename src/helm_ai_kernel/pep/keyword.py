"""The keywords and formats that a pinned schema may use, and what each means for the walk over it.

A keyword that is not here is refused when a tool is pinned: a validator would ignore it, and nothing would enforce what its
author meant.
"""

from collections.abc import Mapping
from enum import StrEnum


class Dialect(StrEnum):
    CURRENT = "2020-12"
    DRAFT_07 = "draft-07"


class Edge(StrEnum):
    """What a subschema applies to, seen from the schema that contains it."""

    HERE = "here"  # the same value
    OBJECT = "object"  # values of properties, and their names
    ARRAY = "array"  # items
    NOWHERE = "nowhere"  # a definition: only what refers to it


URIS = {
    "https://json-schema.org/draft/2020-12/schema": Dialect.CURRENT,
    "http://json-schema.org/draft-07/schema": Dialect.DRAFT_07,
}
META = {dialect: uri + "#" * (dialect is Dialect.DRAFT_07) for uri, dialect in URIS.items()}

EDGES: Mapping[str, Edge] = {
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"), Edge.HERE),
    **dict.fromkeys(("properties", "patternProperties", "additionalProperties", "unevaluatedProperties"), Edge.OBJECT),
    "propertyNames": Edge.OBJECT,
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"), Edge.ARRAY),
    "$defs": Edge.NOWHERE,
    "definitions": Edge.NOWHERE,
}
MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"})
NAMED = frozenset({"properties", "prefixItems", "items"})  # their subschemas apply to one property, or one position, each

VALUES = frozenset(
    {
        "$ref", "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
        "maxLength", "minLength", "pattern", "format", "maxItems", "minItems", "uniqueItems", "minContains", "maxContains",
        "maxProperties", "minProperties", "required", "dependentRequired",
    }
)  # fmt: skip
ANNOTATIONS = frozenset(
    {
        "title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "$comment",
        "contentEncoding", "contentMediaType", "contentSchema",
        "$anchor",  # a name that no `$ref` may use here: they point by place
        "discriminator",  # OpenAPI's, beside the `oneOf` that it describes; pydantic writes it
    }
)  # fmt: skip
REBASING = frozenset(
    {
        "$id", "id", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary",
    }
)  # fmt: skip

_ONLY_CURRENT = frozenset(
    {
        "prefixItems", "unevaluatedItems", "unevaluatedProperties", "dependentSchemas", "dependentRequired", "minContains",
        "maxContains",
    }
)  # fmt: skip
KEYWORDS = {
    Dialect.CURRENT: (EDGES.keys() | VALUES) - {"additionalItems", "dependencies"},
    Dialect.DRAFT_07: (EDGES.keys() | VALUES) - _ONLY_CURRENT,
}

_FORMATS_07 = frozenset(
    {
        "date-time", "date", "time", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri", "uri-reference",
        "iri", "iri-reference", "uri-template", "json-pointer", "relative-json-pointer", "regex",
    }
)  # fmt: skip
FORMATS = {Dialect.DRAFT_07: _FORMATS_07, Dialect.CURRENT: _FORMATS_07 | {"duration", "uuid"}}
