"""Every operation of the OpenAPI document, given each hostile value in each place: never a 5xx."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

VALUES: tuple[Any, ...] = (
    "\0",
    "x" * 5000,
    "9" * 5000,
    "9999-12-31T23:59:59.999999+14:00",
    "\u202e\ufeff\U0010ffff",
    "http://[::1",
    -1,
    10**30,
    None,
    [None],
    {"$gt": ""},
    {"\0": {"": [10**30]}},
)
TOO_MUCH = {"/v1/queues/{name}/messages"}  # deletes what other tests look at


def places(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str], dict[str, Any]]]:
    """Yield each operation as method, path, the schemas of its parameters and of its fields."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            fields = document["components"]["schemas"].get(name, {}).get("properties", {})
            parameters = {found["name"]: found["in"] for found in operation.get("parameters", ())}
            if path not in TOO_MUCH:
                yield method, path, parameters, fields


def requests(
    path: str, parameters: dict[str, str], fields: dict[str, Any], value: object
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield the URL and the body of each request that has `value` in one place."""
    text = quote(str(value), safe="")
    for name, where in parameters.items():
        path = path.replace(f"{{{name}}}", text) if where == "path" else path
    yield path, {} if fields else None
    for name, where in parameters.items():
        if where == "query":
            yield f"{path}?{name}={text}", {} if fields else None
    for name in fields:
        body = {"recipient": "a@b.example", "address": "a@b.example", name: value}
        yield path, {key: body[key] for key in body if key in fields}


async def test_hostile_values_are_answered_and_are_no_faults(api: httpx.AsyncClient):
    document = (await api.get("/openapi.json")).json()
    asked = 0
    for method, path, parameters, fields in places(document):
        calls = [
            (url, body)
            for value in VALUES
            for url, body in requests(path, parameters, fields, value)
        ]
        answers = await asyncio.gather(
            *(api.request(method, url, json=body) for url, body in calls)
        )
        for (url, body), answer in zip(calls, answers, strict=True):
            assert answer.status_code < 500, (method, url[:200], body, answer.text)
        asked += len(calls)
    assert asked > 500
