"""First steps: from an empty account to a delivered mail, on one page."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.schemas.submission import Client
from postroad_common.store.events import TIMELINE
from postroad_ingress_http.access.scopes import require
from postroad_ingress_http.dashboard.clients import settings_for
from postroad_ingress_http.dashboard.firststeps import TEST_TAG, FirstStepsOf
from postroad_ingress_http.dashboard.forms import see_other, text, told_at
from postroad_ingress_http.dashboard.timeline import step
from postroad_ingress_http.dashboard.visitor import (
    Form,
    PagesOf,
    SignedIn,
    SmtpPlaceOf,
    address_of,
)
from postroad_ingress_http.dependencies import (
    AcceptanceOf,
    AccountStore,
    CredentialStore,
    DomainsOf,
    EventStore,
    HistoryOf,
)
from postroad_ingress_http.history.addresses import read_address
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.sending.accept import accept
from postroad_ingress_http.sending.request import SendFields
from postroad_ingress_http.sending.submission import RequestOrigin

router = APIRouter(prefix="/dashboard/start", include_in_schema=False)
_REFRESH_SECONDS = 2
_UNDER_WAY = frozenset({"accepted", "transforming", "queued"})
_SUBJECT = "Test mail from Postroad"
_TEXT = "This is the test mail that you sent from the dashboard. It has arrived.\n"
_HTML = (
    "<p>This is the test mail that you sent from the dashboard. It has arrived.</p>"
    "<p>What happened to it stands there, on the page of the message.</p>"
)


@router.get("")
async def page(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    session: SignedIn,
    pages: PagesOf,
    steps: FirstStepsOf,
    domains: DomainsOf,
    credentials: CredentialStore,
    place: SmtpPlaceOf,
    history: HistoryOf,
    events: EventStore,
    accounts: AccountStore,
) -> Response:
    """Show the steps, each with what to do, and the timeline of the test mail."""
    account = await accounts.find(session.account)
    known = await domains.all(session.account)
    domain = next((one for one in known if one.verified), known[0] if known else None)
    logins = await credentials.list(session.account, limit=1)
    login = logins[0].username if logins else ""
    mail = request.query_params.get("mail", "")[:30]
    told = await events.timeline(mail) if mail else []
    try:
        record = await history.find(session.account, mail) if mail else None
    except ApiError:  # it appears within a second
        record = None
    under_way = mail and (record is None or record.state in _UNDER_WAY)
    return pages.answer(
        "start.html",
        first_steps=await steps.of(session.account),
        domain=domain,
        needs_domain=account is not None and account.verified_senders_only,
        login=login,
        place=place,
        clients=settings_for(place, login or "USERNAME"),
        mail=mail,
        record=record,
        steps=[step(event) for event in told] if record else [],
        is_cut=len(told) >= TIMELINE,
        refresh=_REFRESH_SECONDS if under_way else None,
    )


@router.post("/mail")
async def send_test_mail(
    request: Request, session: SignedIn, fields: Form, acceptance: AcceptanceOf
) -> Response:
    """Send a test mail, and show what happens to it."""
    require(session.scopes, "send", f"Your role ({session.role})")
    with told_at("recipient"):
        recipient = read_address(text(fields, "recipient"))
    mail = SendFields(
        sender=text(fields, "from").strip(),
        recipient=recipient,
        to=[recipient],
        subject=_SUBJECT,
        text=_TEXT,
        html=_HTML,
        tags=[TEST_TAG],
    )
    client = Client(ip=address_of(request), protocol="HTTP")
    accepted = await accept(
        mail, RequestOrigin(session.account, session.email, client), None, acceptance
    )
    (message_id,) = accepted.answer
    return see_other(f"/dashboard/start?mail={message_id}", "The test mail is on its way.")


@router.post("/leave")
async def leave(session: SignedIn, _: Form, accounts: AccountStore) -> Response:
    """Show the steps on the overview no more."""
    await accounts.update(session.account, {"first_steps": False})
    return see_other("/dashboard", "The first steps are left; the menu still has them.")
