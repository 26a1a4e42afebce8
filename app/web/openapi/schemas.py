"""The words that paths and bodies are described in: schemas, parameters and answers of OpenAPI 3.1."""

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
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def array_of(schema: Json) -> Json:
    """A list of such things."""
    return {"type": "array", "items": schema}


def object_of(**properties: Json) -> Json:
    """An object that has all of these."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def ref(name: str) -> Json:
    """A schema of the document, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(
    name: str, description: str, schema: Json = STRING, *, place: str = "query", required: bool = False
) -> Json:
    """A parameter of an operation."""
    return {"name": name, "in": place, "description": description, "required": required, "schema": schema}


def response(description: str, media_type: str | None = None, schema: Json = STRING, **headers: str) -> Json:
    """What an operation may response; `headers` with their descriptions, `_` for `-`."""
    described: dict[str, Any] = {"description": description}
    if media_type is not None:
        described["content"] = {media_type: {"schema": schema}}
    if headers:
        described["headers"] = {
            name.replace("_", "-"): {"description": text, "schema": STRING} for name, text in headers.items()
        }
    return described


def json_response(description: str, schema: Json, **headers: str) -> Json:
    """An response in JSON."""
    return response(description, "application/json", schema, **headers)


def problem_responses(**statuses: str) -> Json:
    """Problem documents (RFC 9457) by status, written `_400="why"`."""
    return {
        status.lstrip("_"): response(description, "application/problem+json", ref("Problem"))
        for status, description in statuses.items()
    }


PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457; `field` and `reason` where one value was wrong, `faults` where several were",
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
