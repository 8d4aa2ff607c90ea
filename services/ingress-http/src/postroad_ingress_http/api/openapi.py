"""`/openapi.json`: FastAPI's document, and the bodies that FastAPI does not know.

Bodies come from the dependency that reads them (`api.access`), so that the document cannot say
anything else than the code does.
"""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from postroad_ingress_http.api.access import BodyNeeded
from postroad_ingress_http.api.answers import ErrorBody, refusals
from postroad_ingress_http.api.examples import EXAMPLES

DESCRIPTION = (
    "Submit mail, follow it, and manage logins, domains and webhooks. Bodies may also be sent as "
    "`application/x-www-form-urlencoded` or `multipart/form-data`."
)
_REFS = "#/components/schemas/{model}"
_HEADERS = {
    "X-Request-Id": ("string", "The request as the logs name it."),
    "RateLimit-Policy": ("string", "The quota `q` of requests with this token in `w` seconds."),
    "RateLimit": ("string", "What is left of it, `r`, and in how many seconds all is, `t`."),
    "Retry-After": ("integer", "Seconds after which the same request may succeed."),
}
_QUERY = {"type": "apiKey", "in": "query", "name": "access_token"}


def build(routes: Sequence[APIRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of the routes."""
    document = get_openapi(title="Postroad", version="1", description=DESCRIPTION, routes=routes)
    document["components"]["securitySchemes"]["query"] = _QUERY
    document["components"]["headers"] = {
        name: {"description": text, "schema": {"type": kind}}
        for name, (kind, text) in _HEADERS.items()
    }
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)  # what does not validate is a 400
    _add_schema(schemas, ErrorBody, "serialization")
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            _complete(operation, route, schemas)
    return document


def _complete(operation: dict[str, Any], route: APIRoute, schemas: dict[str, Any]) -> None:
    """Add the body, the scope, and the refusals that follow from body and path."""
    operation["operationId"] = f"{route.endpoint.__module__.rpartition('.')[2]}_{route.name}"
    answers = operation["responses"]
    if "422" not in map(str, route.responses):
        answers.pop("422", None)  # FastAPI's own: here what does not validate is a 400
    scopes = operation["security"][0]["bearer"]
    operation["x-scope"] = scopes[0]
    operation["security"].append({"query": scopes})
    more = [404] if "{" in route.path else []
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, BodyNeeded):
            schema = {"$ref": _add_schema(schemas, dependency.call.model)}
            operation["requestBody"] = {
                "required": not _takes_nothing(dependency.call),
                # Forms are taken as well, but generated clients that know of several types send
                # one body in all of them at once.
                "content": {
                    "application/json": {
                        "schema": schema,
                        "example": EXAMPLES.get(dependency.call.model.__name__, {}),
                    }
                },
            }
            more += [413, 415]
    if route.methods and not route.methods & {"GET", "HEAD"}:
        more.append(409)
    reference = {"application/json": {"schema": {"$ref": _REFS.format(model=ErrorBody.__name__)}}}
    for status, answer in answers.items():
        if int(status) >= 400:
            answer["content"] = reference
    for status, refusal in refusals(*more).items():
        answers[str(status)] = {"description": refusal["description"], "content": reference}
    _document_headers(answers)
    operation["responses"] = dict(sorted(answers.items()))


def _document_headers(answers: dict[str, Any]) -> None:
    """Name the headers that answers have; those with Retry-After say when to try again."""
    for status, answer in answers.items():
        names = ["X-Request-Id"]
        if status != "401":
            names += ["RateLimit-Policy", "RateLimit"]
        if status in {"429", "503", "504"}:
            names.append("Retry-After")
        told = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        answer["headers"] = {**answer.get("headers", {}), **told}


def _takes_nothing(needed: BodyNeeded[Any]) -> bool:
    """Tell whether a request may leave the body away."""
    return not any(field.is_required() for field in needed.model.model_fields.values())


def _add_schema(
    schemas: dict[str, Any], model: type[BaseModel], mode: JsonSchemaMode = "validation"
) -> str:
    schema = model.model_json_schema(ref_template=_REFS, by_alias=True, mode=mode)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return _REFS.format(model=model.__name__)
