"""The page at `/docs`: the operations of the OpenAPI document, for people."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_ingress_http.dashboard.visitor import PagesOf

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def reference(request: Request, pages: PagesOf) -> Response:
    """Show the operations of the API."""
    document: dict[str, Any] = request.app.state.document()
    description = document["info"]["description"]
    return pages.answer("docs.html", groups=groups(document), description=description)


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
    """Return what the page shows of the OpenAPI document."""
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
