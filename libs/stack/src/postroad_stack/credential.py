"""The demo login of a stack: made once by the REST API, shown by every later `up`."""

import asyncio
import time
from http import HTTPStatus

from postroad_stack.document import LoginInfo
from postroad_stack.errors import RestError, StackError
from postroad_stack.rest import RestClient

_NAME = "demo"
_PATIENCE = 60.0
_ALL_FEATURES = {
    "inlinecss": True,
    "clicktracking": True,
    "openstracking": True,
    "preventscam": True,
    "bouncetracking": True,
}


async def ensure_credential(url: str, token: str, known: LoginInfo | None) -> LoginInfo:
    """Return the demo login; makes one when there is none or somebody deleted it.

    Args:
        url: base of the REST API.
        token: the administrator's token.
        known: the login made before.

    Raises:
        StackError: the REST API did not give one.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return await asyncio.to_thread(_ensure, url, token, known)
        except RestError as error:
            # The database may be busy electing itself: 503 is a reason to ask again.
            passing = error.status == 0 or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            if not passing or time.monotonic() > deadline:
                raise StackError(
                    f"the REST API made no demo login: {error}",
                    advice="see ingress-http.log in the state dir",
                ) from None
        await asyncio.sleep(0.3)


def _ensure(url: str, token: str, known: LoginInfo | None) -> LoginInfo:
    api = RestClient(url, token)
    if known is not None:
        try:
            api.get(f"/v1/credentials/{known.username}")
        except RestError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        else:
            return known
    made = api.post(
        "/v1/credentials",
        {"name": _NAME, "features": _ALL_FEATURES, "forward_bounces": True},
    )
    return LoginInfo(username=made["username"], password=made["password"])
