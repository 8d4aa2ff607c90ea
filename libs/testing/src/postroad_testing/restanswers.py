"""Answers of the REST API, as they have to be whatever was asked."""

from typing import Any

import httpx


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the error in an answer.

    Raises:
        AssertionError: it has another status, is not of the one shape, or tells of our code.
    """
    kind = answer.headers.get("content-type")
    if (answer.status_code, kind) != (status, "application/json") or "Traceback" in answer.text:
        raise AssertionError(f"{answer.status_code} {kind}: {answer.text}")
    body = answer.json()
    if set(body) != {"error"} or set(body["error"]) != {"code", "message", "field"}:
        raise AssertionError(f"not the shape of an error: {body}")
    found: dict[str, Any] = body["error"]
    return found
