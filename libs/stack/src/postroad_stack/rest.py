"""A small typed client of Postroad's REST API, for the command, the demo and the tests.

Works against any deployment. Answers come back as parsed JSON objects, in the shapes that
`/openapi.json` describes.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

_TIMEOUT = 15.0
_NO_CONTENT = 204

Json = dict[str, Any]


class RestError(Exception):
    """The API refused. `status` is the HTTP status, 0 when nothing answered."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        where = f" ({field})" if field else ""
        super().__init__(f"{message}{where}")
        self.status = status
        self.code = code
        self.field = field


class RestClient:
    """Calls the REST API with one token. Blocking; use it as a context manager.

    Args:
        url: base of the API, such as `http://127.0.0.1:8080`.
        token: a REST token.
    """

    def __init__(self, url: str, token: str, *, timeout: float = _TIMEOUT) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call; return the parsed answer, None when it has no content.

        Args:
            method: HTTP method.
            path: below the base, such as `/v1/credentials`.
            query: parameters of the URL.
            body: sent as JSON, None to send nothing.
            headers: more headers.

        Raises:
            RestError: the API answered with an error, or nothing answered.
        """
        try:
            response = self._client.request(method, path, params=query, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise RestError(
                0,
                "unreachable",
                f"{self.url} does not answer: {str(error) or type(error).__name__}",
            ) from None
        if response.is_error:
            raise _refusal(response)
        if response.status_code == _NO_CONTENT or not response.content:
            return None
        if "json" not in response.headers.get("content-type", ""):
            return response.text
        return response.json()

    def get(self, path: str, **query: str | int) -> Any:
        """GET with query parameters."""
        return self.call("GET", path, query=query or None)

    def post(self, path: str, body: Any = None) -> Any:
        """POST a JSON body."""
        return self.call("POST", path, body=body)

    def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body."""
        return self.call("PATCH", path, body=body)

    def delete(self, path: str, **query: str | int) -> Any:
        """DELETE."""
        return self.call("DELETE", path, query=query or None)

    def message(self, message_id: str) -> Json | None:
        """Return a message with its timeline, None when it is not known (yet)."""
        try:
            found: Json = self.get(f"/v1/messages/{message_id}")
        except RestError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return found


def _refusal(response: httpx.Response) -> RestError:
    try:
        error = response.json()["error"]
        return RestError(
            response.status_code, str(error["code"]), str(error["message"]), error.get("field")
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        text = " ".join(response.text.split())[:200]
        return RestError(
            response.status_code, "http", f"HTTP {response.status_code} {text}".strip()
        )
