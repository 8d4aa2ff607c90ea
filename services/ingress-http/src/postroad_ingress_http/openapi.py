"""`/openapi.json`, and the operations that the page at `/docs` lists.

Bodies and scopes come from the dependencies that check them (`api.access`), so the document
cannot say anything else than the code does.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from postroad_common.store.tokens import Token  # noqa: F401 - named by the signatures read here
from postroad_ingress_http.api.access import BodyNeeded, TokenNeeded

DESCRIPTION = "Hand in mail, follow it, and manage logins, domains and webhooks."
_REFS = "#/components/schemas/{model}"
_FORM_TYPES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
_ERRORS = {
    "400": "Something in the request is wrong; `error.field` names it.",
    "401": "No valid token.",
    "403": "The token lacks the scope.",
    "404": "There is no such thing.",
    "409": "It conflicts with what is there.",
    "413": "The body is too large.",
    "415": "The body has a content type that is not taken.",
    "429": "Too many requests; see Retry-After.",
    "503": "The broker or the database is away; nothing was accepted. See Retry-After.",
}


class ErrorDetail(BaseModel):
    """What went wrong: a stable code, a sentence, and the field it is about."""

    code: str
    message: str
    field: str | None = None


class ErrorBody(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail


def build(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`."""
    document = get_openapi(
        title="Postroad", version="1", description=DESCRIPTION, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _add_schema(schemas, ErrorBody)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "query": {"type": "apiKey", "in": "query", "name": "access_token"},
    }
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = document["paths"][route.path_format][method.lower()]
                _complete(operation, route, schemas)
    return document


def _complete(operation: dict[str, Any], route: APIRoute, schemas: dict[str, Any]) -> None:
    errors = {"400", "401", "403", "429", "503"}
    if "{" in route.path:
        errors.add("404")
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, TokenNeeded):
            operation["security"] = [{"bearer": []}, {"query": []}]
            operation["x-scope"] = dependency.call.scope
        if isinstance(dependency.call, BodyNeeded):
            schema = {"$ref": _add_schema(schemas, dependency.call.model)}
            operation["requestBody"] = {
                "required": True,
                "content": {kind: {"schema": schema} for kind in _FORM_TYPES},
            }
            errors |= {"409", "413", "415"}
    if route.path == "/v1/send":
        operation.setdefault("parameters", []).append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "maxLength": 255},
                "description": "The same key and body are accepted once within a day.",
            }
        )
    answers = operation["responses"]
    answers.pop("422", None)
    reference = {"$ref": _REFS.format(model="ErrorBody")}
    for status in sorted(errors):
        answers[status] = {
            "description": _ERRORS[status],
            "content": {"application/json": {"schema": reference}},
        }


def _add_schema(schemas: dict[str, Any], model: type[BaseModel]) -> str:
    schema = model.model_json_schema(ref_template=_REFS, by_alias=True)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return _REFS.format(model=model.__name__)


@dataclass(frozen=True, slots=True)
class Named:
    """A parameter or a field, as the page shows it."""

    name: str
    type: str
    required: bool
    description: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """An end point, as the page shows it."""

    method: str
    path: str
    summary: str
    description: str
    scope: str
    parameters: tuple[Named, ...]
    fields: tuple[Named, ...]
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one noun."""

    name: str
    operations: tuple[Operation, ...]


def groups(document: dict[str, Any]) -> list[Group]:
    """What the page at `/docs` shows of the OpenAPI document."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            found.setdefault(tag, []).append(_operation(document, method, path, operation))
    return [Group(name, tuple(operations)) for name, operations in found.items()]


def _operation(
    document: dict[str, Any], method: str, path: str, operation: dict[str, Any]
) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})
    schema = _resolve(document, next(iter(content.values()))["schema"]) if content else {}
    required = schema.get("required", [])
    return Operation(
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        scope=operation.get("x-scope", ""),
        parameters=tuple(
            Named(
                parameter["name"],
                _type(parameter.get("schema", {})),
                parameter.get("required", False),
                (parameter.get("description") or "").rstrip("."),
                parameter["in"],
            )
            for parameter in operation.get("parameters", [])
        ),
        fields=tuple(
            Named(
                name,
                _type(field),
                name in required,
                (field.get("description") or "").rstrip("."),
            )
            for name, field in schema.get("properties", {}).items()
        ),
        answers=tuple(
            (status, answer.get("description", ""))
            for status, answer in operation["responses"].items()
        ),
    )


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    name = reference.rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"].get(name, schema)
    return found


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        kinds = dict.fromkeys(_type(part) for part in schema["anyOf"])
        return " or ".join(kind for kind in kinds if kind != "null")
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2]).removesuffix("Fields").lower()
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return {"integer": "number", "boolean": "true or false"}.get(
        schema.get("type", ""), str(schema.get("type", "anything"))
    )
