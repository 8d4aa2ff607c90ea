"""Queues, and the dead letters: why they are there, and what becomes of them."""

from fastapi import APIRouter
from starlette.responses import Response

from postroad_common.broker.deadletters import MOST
from postroad_ingress_http.dashboard.forms import see_other
from postroad_ingress_http.dashboard.visitor import Form, PagesOf, SignedIn
from postroad_ingress_http.dependencies import QueuesOf

router = APIRouter(prefix="/dashboard/queues", include_in_schema=False)
_SHOWN = 50


@router.get("")
async def listing(_: SignedIn, pages: PagesOf, queues: QueuesOf) -> Response:
    """List the queues."""
    return pages.answer("queues.html", rows=await queues.all())


@router.get("/{name}")
async def dead(name: str, _: SignedIn, pages: PagesOf, queues: QueuesOf) -> Response:
    """Show the first dead letters of a queue."""
    queue = await queues.find(name)
    letters = await queues.look(name, _SHOWN)
    return pages.answer("deadletters.html", queue=queue, letters=letters, most=MOST)


@router.post("/{name}/replay")
async def replay(name: str, session: SignedIn, _: Form, queues: QueuesOf) -> Response:
    """Put dead letters back."""
    done = await queues.replay(name, MOST, session.email)
    left = f" {done.left:,} stay: nobody knows where they came from." if done.left else ""
    return see_other(f"/dashboard/queues/{name}", f"{done.replayed:,} messages are put back.{left}")


@router.post("/{name}/purge")
async def purge(name: str, session: SignedIn, _: Form, queues: QueuesOf) -> Response:
    """Throw dead letters away."""
    count = await queues.purge(name, session.email)
    return see_other(f"/dashboard/queues/{name}", f"{count:,} messages are thrown away.")
