"""`POST /v1/resend`."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from postroad_common.schemas.submission import Client
from postroad_common.store.tokens import Token
from postroad_ingress_http.api.access import body, needs
from postroad_ingress_http.api.answers import REFUSALS, refusals
from postroad_ingress_http.dependencies import AcceptanceOf, HistoryOf
from postroad_ingress_http.sending import resend as sending
from postroad_ingress_http.sending.submission import RequestOrigin

router = APIRouter(tags=["send"], responses={**REFUSALS, **refusals(404, 409)})
Sender = Annotated[Token, needs("send")]


class ResendFields(BaseModel):
    """Which message."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(max_length=100, description="The id of a message whose content is kept.")


@router.post(
    "/v1/resend",
    summary="Send a message again",
    response_description="The id of the new message, with its recipient.",
)
async def resend(
    request: Request,
    token: Sender,
    fields: Annotated[ResendFields, body(ResendFields)],
    history: HistoryOf,
    acceptance: AcceptanceOf,
) -> dict[str, str]:
    """Submit what was submitted then, to the same recipient and with the same settings.

    The answer comes when it is safe on the queue. Later events belong to the new id.
    """
    record = await history.find(token.account, fields.message)
    archived, raw = await history.read_submission(record)
    client = Client(
        ip=request.client.host if request.client else "",
        protocol="HTTPS" if request.url.scheme == "https" else "HTTP",
    )
    origin = RequestOrigin(token.account, token.id, client, token.sender_domains, test=token.test)
    return await sending.resend(record, archived, raw, origin, acceptance)
