"""Request bodies as a dictionary of fields, whatever they were encoded as.

JSON objects, `application/x-www-form-urlencoded` and `multipart/form-data` all become the same
thing; what the fields mean is said by the models in `api` and in `sendrequest`. The size of a body
is limited before it comes here, in `limits`.
"""

import asyncio
import base64
import re
from collections.abc import Callable
from email.message import Message
from itertools import islice
from typing import ParamSpec, TypeVar
from urllib.parse import parse_qsl

import pydantic_core
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.forms import collect

MAX_FORM_FIELDS = 10_000
MAX_VALUES = 300_000
"""Strings and commas outside of them in the JSON of one request."""
IN_THREAD = 65_536  # octets of a body above which it is read beside the event loop
_VALUE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|,', re.DOTALL)
ATTACHMENTS = "attachments"
"""The field whose files are the attachments of a mail."""
MESSAGE_FIELDS = frozenset({"mime", "body"})
"""Fields that may hold octets in any charset."""

Fields = dict[str, object]
P = ParamSpec("P")
T = TypeVar("T")


async def read_fields(request: Request) -> Fields:
    """Read the fields of the body; an empty body has none.

    Octets that are no UTF-8 are kept as surrogate escapes in the form fields `mime` and `body`, so
    that a MIME message in another charset survives, and refused in all others.

    Raises:
        ApiError: 400 for a body that does not parse, 415 for another content type or encoding.
    """
    body = await request.body()
    if not body:
        return {}
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise ApiError(415, "The only Content-Encoding that is taken is gzip.")
    content_type = request.headers.get("content-type", "")
    return await beside_the_loop(len(body), _read, content_type, body)


async def beside_the_loop(
    octets: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return what `work` does; in a thread where it is about many octets of a request."""
    if octets > IN_THREAD:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


def _read(content_type: str, body: bytes) -> Fields:
    fields = _parse(content_type, body)
    for name, value in fields.items():
        if name.lower() not in MESSAGE_FIELDS:
            _require_text(name, {name: value})
    return fields


def _parse(content_type: str, body: bytes) -> Fields:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return parse_json(body)
    if media_type == "application/x-www-form-urlencoded":
        return parse_form(body)
    if media_type == "multipart/form-data":
        return parse_multipart(content_type, body)
    raise ApiError(
        415, "Send application/json, application/x-www-form-urlencoded or multipart/form-data."
    )


def parse_json(body: bytes) -> Fields:
    """Return the members of a JSON object.

    Raises:
        ApiError: 400, the body is no JSON object.
    """
    _check_count(body)
    try:
        fields = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    return fields


def _check_count(body: bytes) -> None:
    """Refuse JSON of too many values before it becomes objects: they take much more room and time.

    Raises:
        ApiError: 400.
    """
    if body.count(b",") < MAX_VALUES // 2:
        return
    if sum(1 for _ in islice(_VALUE.finditer(body), MAX_VALUES)) == MAX_VALUES:
        raise ApiError(400, f"The body has more than {MAX_VALUES} values.", code="invalid_json")


def parse_form(body: bytes) -> Fields:
    """Return the fields of an URL-encoded form.

    Raises:
        ApiError: 400, it is not one, or has too many fields.
    """
    if body.lstrip()[:1] in {b"{", b"["}:
        raise ApiError(
            400,
            "The body looks like JSON, but was sent as a form: add the header "
            "`Content-Type: application/json`.",
            code="invalid_form",
        )
    try:
        pairs = parse_qsl(
            _text(body),
            keep_blank_values=True,
            max_num_fields=MAX_FORM_FIELDS,
            errors="surrogateescape",
        )
    except ValueError:
        raise ApiError(
            400, f"The form has more than {MAX_FORM_FIELDS} fields.", code="invalid_form"
        ) from None
    return collect(pairs)


def parse_multipart(content_type: str, body: bytes) -> Fields:
    """Return the fields of a multipart form.

    Files with the name `attachments` become attachments, other files fields with their content.

    Raises:
        ApiError: 400, it does not parse.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise ApiError(400, "The multipart form has no boundary.", code="invalid_form")
    reader = _PartReader()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
                "on_part_data": reader.data,
                "on_part_end": reader.end,
                "on_end": reader.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise ApiError(400, "The multipart form is malformed.", code="invalid_form") from None
    if not reader.complete:
        raise ApiError(400, "The multipart form is cut off.", code="invalid_form")
    fields = collect(reader.pairs)
    if reader.files:
        if ATTACHMENTS in fields:
            raise bad_field(ATTACHMENTS, "Give either files or a list of attachments, not both.")
        fields[ATTACHMENTS] = reader.files
    return fields


def require_text(name: str, value: str) -> str:
    """Return `value`.

    Raises:
        ApiError: 400, it holds octets that were no UTF-8.
    """
    if not is_text(value):
        raise bad_field(name, "This field is not valid UTF-8.")
    return value


def is_text(value: str) -> bool:
    """Tell whether `value` can be written as UTF-8: it has no lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_text(name: str, value: object) -> None:
    """Raise ApiError (400) unless all text in `value`, names included, is UTF-8."""
    if isinstance(value, str):
        require_text(name, value)
    elif isinstance(value, list):
        for item in value:
            _require_text(name, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _require_text(name, key)
            _require_text(name, item)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


class _PartReader:
    """Collects what the multipart parser calls out."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.files: list[dict[str, str]] = []
        self.complete = False
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._data: list[bytes] = []

    def begin(self) -> None:
        self._headers = {}
        self._data = []

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end(self) -> None:
        disposition = Message()
        disposition["content-disposition"] = _text(self._headers.get(b"content-disposition", b""))
        name = disposition.get_param("name", header="content-disposition")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "A part of the multipart form has no name.", code="invalid_form")
        if len(self.pairs) + len(self.files) >= MAX_FORM_FIELDS:
            raise ApiError(
                400, f"The form has more than {MAX_FORM_FIELDS} fields.", code="invalid_form"
            )
        filename = disposition.get_filename()
        if filename and name.removesuffix("[]") == ATTACHMENTS:
            self._add_file(filename)
        else:
            self.pairs.append((name, _text(b"".join(self._data))))

    def _add_file(self, filename: str) -> None:
        file = {"name": filename, "data": base64.b64encode(b"".join(self._data)).decode()}
        if kind := _text(self._headers.get(b"content-type", b"")).partition(";")[0].strip():
            file["type"] = kind
        self.files.append(file)

    def finish(self) -> None:
        self.complete = True
