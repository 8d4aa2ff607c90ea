"""`/v1/suppressions`: addresses that nothing is sent to."""

from enum import Enum
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_common.store.suppressions import Suppression
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.pages import (
    DEFAULT_PAGE,
    Cursor,
    Page,
    PageSize,
    read_cursor,
    write_cursor,
)
from postroad_ingress_http.api.times import read_moment
from postroad_ingress_http.errors import bad_field, not_found
from postroad_ingress_http.parts import Parts


class SuppressionFields(BaseModel):
    """An address to suppress."""

    model_config = ConfigDict(extra="forbid")

    address: str
    reason: str = Field("", max_length=500)
    expires: str | None = Field(None, description="Until when, UTC; left out: for good.")


class SuppressionView(BaseModel):
    """An entry. `kind` is hard, soft, complaint, unsubscribe or manual."""

    model_config = ConfigDict(from_attributes=True)

    address: str
    reason: str
    kind: str
    created: float
    expires: float | None
    message: str | None


def read_address(text: str) -> str:
    """The address in the form of the list: lower case.

    Raises:
        ApiError: 400.
    """
    return exact_address(text).lower()


def exact_address(text: str) -> str:
    """The address as messages have it: its local part as it is, its domain in lower case.

    Raises:
        ApiError: 400.
    """
    try:
        return parse_mailbox(text.strip(), smtputf8=True).text
    except AddressError as error:
        raise bad_field("address", f"Not an e-mail address: {error}.") from None


def register(app: FastAPI, parts: Parts) -> None:
    """Adds the end points."""
    reading = needs(parts.authenticator, "suppressions:read")
    writing = needs(parts.authenticator, "suppressions")
    store = parts.database.suppressions
    tags: list[str | Enum] = ["suppressions"]

    @app.post("/v1/suppressions", status_code=201, tags=tags, summary="Suppress an address")
    async def add(
        token: Annotated[Token, writing],
        fields: Annotated[SuppressionFields, body(SuppressionFields)],
    ) -> SuppressionView:
        """An address that is on the list already gets this reason."""
        now = parts.clock()
        expires = read_moment("expires", fields.expires)
        if expires is not None and expires <= now:
            raise bad_field("expires", "This time is past.")
        entry = Suppression(
            account=token.account,
            address=read_address(fields.address),
            reason=fields.reason or "entered by hand",
            kind="manual",
            created=now,
            expires=expires,
        )
        await store.add([entry])
        return SuppressionView.model_validate(entry)

    @app.get("/v1/suppressions", tags=tags, summary="List suppressions")
    async def listing(
        token: Annotated[Token, reading], cursor: Cursor = None, limit: PageSize = DEFAULT_PAGE
    ) -> Page[SuppressionView]:
        """In the order of addresses."""
        position = read_cursor(cursor, str)
        after = position[0] if position else ""
        found = await store.list(token.account, after=after, limit=limit + 1)
        return Page(
            items=[SuppressionView.model_validate(entry) for entry in found[:limit]],
            cursor=write_cursor(found[limit - 1].address) if len(found) > limit else None,
        )

    @app.get("/v1/suppressions/{address:path}", tags=tags, summary="One suppression")
    async def one(address: str, token: Annotated[Token, reading]) -> SuppressionView:
        """404 when mail to the address is sent."""
        entry = await store.get(token.account, address)
        if entry is None:
            raise not_found("suppression")
        return SuppressionView.model_validate(entry)

    @app.delete("/v1/suppressions/{address:path}", status_code=204, tags=tags, summary="Send again")
    async def remove(address: str, token: Annotated[Token, writing]) -> Response:
        """Takes the address off the list."""
        if not await store.remove(token.account, address):
            raise not_found("suppression")
        return Response(status_code=204)
