"""The words that paths and bodies are described in: schemas, parameters and answers of OpenAPI 3.1."""

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
WHOLE: Json = {"type": "integer"}
NUMBER: Json = {"type": "number"}
FLAG: Json = {"type": "boolean"}
UUID: Json = {"type": "string", "format": "uuid"}
MOMENT: Json = {"type": "string", "format": "date-time"}
MONEY: Json = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}


def nullable(schema: Json) -> Json:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema: Json) -> Json:
    """A list of such things."""
    return {"type": "array", "items": schema}


def thing(**properties: Json) -> Json:
    """An object that has all of these."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def ref(name: str) -> Json:
    """A schema of the document, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(
    name: str, description: str, schema: Json = TEXT, *, place: str = "query", required: bool = False
) -> Json:
    """A parameter of an operation."""
    return {"name": name, "in": place, "description": description, "required": required, "schema": schema}


def answer(description: str, media_type: str | None = None, schema: Json = TEXT, **headers: str) -> Json:
    """What an operation may answer; `headers` with their descriptions, `_` for `-`."""
    described: dict[str, Any] = {"description": description}
    if media_type is not None:
        described["content"] = {media_type: {"schema": schema}}
    if headers:
        described["headers"] = {
            name.replace("_", "-"): {"description": text, "schema": TEXT} for name, text in headers.items()
        }
    return described


def json_answer(description: str, schema: Json, **headers: str) -> Json:
    """An answer in JSON."""
    return answer(description, "application/json", schema, **headers)


def problems(**statuses: str) -> Json:
    """Problem documents (RFC 9457) by status, written `_400="why"`."""
    return {
        status.lstrip("_"): answer(description, "application/problem+json", ref("Problem"))
        for status, description in statuses.items()
    }


PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457; `field` and `reason` where one value was wrong, `faults` where several were",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT,
        "field": TEXT,
        "reason": TEXT,
        "faults": listed(thing(field=TEXT, reason=TEXT)),
    },
}
