"""Builders for schemas, parameters and responses of OpenAPI 3.1."""

from typing import Any

Json = dict[str, Any]

STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
NUMBER: Json = {"type": "number"}
BOOLEAN: Json = {"type": "boolean"}
UUID: Json = {"type": "string", "format": "uuid"}
DATE_TIME: Json = {"type": "string", "format": "date-time"}
DECIMAL: Json = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}


def nullable(schema: Json) -> Json:
    """Return a schema for a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def array_of(schema: Json) -> Json:
    """Return the schema of an array."""
    return {"type": "array", "items": schema}


def object_of(**properties: Json) -> Json:
    """Return the schema of an object in which all properties are required."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def ref(name: str) -> Json:
    """Return a reference to a named schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(
    name: str, description: str, schema: Json = STRING, *, place: str = "query", required: bool = False
) -> Json:
    """Describe a parameter of an operation."""
    return {"name": name, "in": place, "description": description, "required": required, "schema": schema}


def response(description: str, media_type: str | None = None, schema: Json = STRING, **headers: str) -> Json:
    """Describe a response; `headers` are names, with `_` instead of `-`, and their descriptions."""
    described: dict[str, Any] = {"description": description}
    if media_type is not None:
        described["content"] = {media_type: {"schema": schema}}
    if headers:
        described["headers"] = {
            name.replace("_", "-"): {"description": text, "schema": STRING} for name, text in headers.items()
        }
    return described


def json_response(description: str, schema: Json, **headers: str) -> Json:
    """Describe a JSON response."""
    return response(description, "application/json", schema, **headers)


def problem_responses(**statuses: str) -> Json:
    """Describe problem documents (RFC 9457) by status; `_400="..."` describes those with status 400."""
    return {
        status.lstrip("_"): response(description, "application/problem+json", ref("Problem"))
        for status, description in statuses.items()
    }


PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457; `field` and `reason` if a value is invalid, `faults` if several are",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": STRING,
        "title": STRING,
        "status": INTEGER,
        "detail": STRING,
        "field": STRING,
        "reason": STRING,
        "faults": array_of(object_of(field=STRING, reason=STRING)),
    },
}
