"""A small typed client of Postroad's REST API, for the command, the demo and the tests.

Works against any deployment. Answers come back as parsed JSON objects, in the shapes that
`/openapi.json` describes.
"""

import codecs
import http.client
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from postroad_stack.errors import RestError

_TIMEOUT = 60.0
_PIECE = 16_384  # octets

Json = dict[str, Any]


class RestClient:
    """Calls the REST API with one token: blocking, a connection for each call, from any thread.

    Made of the standard library alone, as every call of the command waits for its imports.

    Args:
        url: base of the API, such as `http://127.0.0.1:8080`.
        token: a REST token.
        timeout: seconds.
        account: the account to act in, if the token is an operator's; else the token's own.

    Raises:
        ValueError: the URL is not one of HTTP.
    """

    def __init__(
        self, url: str, token: str, *, timeout: float = _TIMEOUT, account: str | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no URL of HTTP")
        self.url = url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, */*;q=0.5",
            **({"X-Postroad-Account": account} if account else {}),
        }
        self._timeout = timeout

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
        with self._open(method, path, query=query, body=body, headers=headers) as response:
            content = self._read(response, None)
            kind = response.headers.get("content-type", "")
        if not content:
            return None
        is_json = "json" in kind and "ndjson" not in kind  # a document a line
        return json.loads(content) if is_json else content.decode(errors="replace")

    def pieces(self, path: str, *, query: Mapping[str, str | int] | None = None) -> Iterator[str]:
        """GET a text, and yield it as it arrives; no CR LF is taken apart.

        Raises:
            RestError: the API answered with an error, nothing answered, or the text breaks off.
        """
        with self._open("GET", path, query=query) as response:
            utf_8 = codecs.getincrementaldecoder("utf-8")("replace")
            decoder = io.IncrementalNewlineDecoder(utf_8, translate=False)
            while content := self._read(response, _PIECE):
                yield decoder.decode(content)
            yield decoder.decode(b"", final=True)

    def _read(self, response: http.client.HTTPResponse, most: int | None) -> bytes:
        """Return all of an answer, or its next octets, at most so many."""
        try:
            content = response.read(most)
            if not content and response.length:
                raise http.client.IncompleteRead(content, response.length)
            return content
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Make a call and give its answer, to be read inside of the block."""
        url = self.url + path + (f"?{urlencode(query)}" if query else "")
        sent = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        request = Request(url, data, sent | dict(headers or {}), method=method)  # noqa: S310 -- checked
        try:
            response: http.client.HTTPResponse = urlopen(request, timeout=self._timeout)  # noqa: S310 -- as above
        except HTTPError as error:
            raise _refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        with response:
            yield response

    def _unreachable(self, error: Exception) -> RestError:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        return RestError(0, "unreachable", f"{self.url} does not answer: {reason}")

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
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found


def _refusal(answer: HTTPError) -> RestError:
    with answer:
        content = answer.read().decode(errors="replace")
    try:
        error = json.loads(content)["error"]
        return RestError(answer.code, str(error["code"]), str(error["message"]), error.get("field"))
    except (ValueError, KeyError, TypeError, AttributeError):
        text = " ".join(content.split())[:200]
        return RestError(answer.code, "http", f"HTTP {answer.code} {text}".strip())
