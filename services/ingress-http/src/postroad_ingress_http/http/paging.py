"""Lists that come in pages: `{"items": […], "cursor": …}`, the cursor being opaque to clients."""

import base64
import binascii
import json
from math import isfinite
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from postroad_ingress_http.http.errors import bad_field
from postroad_ingress_http.http.fields import is_text

T = TypeVar("T")

Cursor = Annotated[
    str | None, Query(max_length=500, description="The `cursor` of the page before this one.")
]
PageSize = Annotated[int, Query(ge=1, le=500, description="How many items at most.")]
SearchText = Annotated[str | None, Query(max_length=320)]
DEFAULT_PAGE = 50


class Page(BaseModel, Generic[T]):
    """One page. Without a `cursor` it is the last."""

    items: list[T]
    cursor: str | None = None


def write_cursor(*position: str | float) -> str:
    """Return the cursor for a position in a list."""
    text = json.dumps(position, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read_cursor(cursor: str | None, *kinds: type) -> list[Any] | None:
    """Return the position in `cursor`, whose parts are of `kinds`; None without a cursor.

    Raises:
        ApiError: 400, it was not made by `write_cursor`.
    """
    if not cursor:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        position = None
    if not isinstance(position, list) or not _fits(position, kinds):
        raise bad_field("cursor", "This is no cursor that was given out here.")
    return position


def _fits(position: list[Any], kinds: tuple[type, ...]) -> bool:
    return len(position) == len(kinds) and all(
        isinstance(part, kind) and _is_plain(part)
        for part, kind in zip(position, kinds, strict=True)
    )


def _is_plain(part: object) -> bool:
    """Tell whether the store can compare with `part`."""
    if isinstance(part, str):
        return is_text(part) and "\0" not in part
    return isinstance(part, int | float) and isfinite(part)
