"""What handlers of the API and the dashboard ask for, as dependencies of FastAPI.

`main` builds one `Dependencies`, `application` puts it into the application's state; a handler
names what it needs as a parameter, `tokens: TokenStore`, and is called in a test with that alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from postroad_common.health import Health
from postroad_common.store.accounts import Accounts
from postroad_common.store.audit import AuditLog
from postroad_common.store.credentials import Credentials
from postroad_common.store.events import Events
from postroad_common.store.messages import Messages
from postroad_common.store.privacy import Privacy
from postroad_common.store.rollups import Rollups
from postroad_common.store.searches import SavedSearches
from postroad_common.store.sessions import SessionRecords
from postroad_common.store.strikes import Strikes
from postroad_common.store.suppressions import Suppressions
from postroad_common.store.tokens import Tokens
from postroad_common.store.users import Users
from postroad_common.tokens import LinkSigner
from postroad_ingress_http.access.accounts import AccountAdministration
from postroad_ingress_http.access.authentication import Authenticator
from postroad_ingress_http.access.users import UserAdministration
from postroad_ingress_http.domains.senderdomains import SenderDomains
from postroad_ingress_http.exports.logfiles import LogFiles
from postroad_ingress_http.exports.originals import OriginalEvents
from postroad_ingress_http.history.directives import MessageDirection
from postroad_ingress_http.history.feeds import ComplaintFeeds
from postroad_ingress_http.history.messages import MessageHistory
from postroad_ingress_http.hooks.calls import WebhookCalls
from postroad_ingress_http.hooks.registry import WebhookRegistry
from postroad_ingress_http.jobs.orders import JobOrders
from postroad_ingress_http.operations.lanes import LaneOperations
from postroad_ingress_http.operations.queues import QueueOperations
from postroad_ingress_http.previews.preview import Previews
from postroad_ingress_http.sending.accept import Acceptance
from postroad_ingress_http.sending.personalise import Personaliser
from postroad_ingress_http.sending.scheduling import Scheduling
from postroad_ingress_http.sending.templates import TemplateLibrary

Clock = Callable[[], float]
"""Returns Unix seconds."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The objects of the service, from which each handler is given those that it names."""

    acceptance: Acceptance
    account_administration: AccountAdministration
    accounts: Accounts
    audit: AuditLog
    authenticator: Authenticator
    calls: WebhookCalls
    clock: Clock
    credentials: Credentials
    message_direction: MessageDirection
    domains: SenderDomains
    events: Events
    feeds: ComplaintFeeds
    health: Health
    history: MessageHistory
    link_signer: LinkSigner
    hooks: WebhookRegistry
    jobs: JobOrders
    lanes: LaneOperations
    log_files: LogFiles
    messages: Messages
    originals: OriginalEvents
    personaliser: Personaliser
    previews: Previews
    privacy: Privacy
    queues: QueueOperations
    rollups: Rollups
    scheduling: Scheduling
    hours: Rollups
    searches: SavedSearches
    sessions: SessionRecords
    strikes: Strikes
    suppressions: Suppressions
    templates: TemplateLibrary
    tokens: Tokens
    user_administration: UserAdministration
    users: Users


def given(read: Callable[[Dependencies], object]) -> Any:
    """Return the `Depends` that gives a handler what `read` takes from the dependencies."""

    async def provide(request: Request) -> object:
        return read(request.app.state.dependencies)

    return Depends(provide)


AcceptanceOf = Annotated[Acceptance, given(lambda its: its.acceptance)]
AccountsOf = Annotated[AccountAdministration, given(lambda its: its.account_administration)]
AccountStore = Annotated[Accounts, given(lambda its: its.accounts)]
AuditOf = Annotated[AuditLog, given(lambda its: its.audit)]
AuthenticatorOf = Annotated[Authenticator, given(lambda its: its.authenticator)]
CallsOf = Annotated[WebhookCalls, given(lambda its: its.calls)]
ClockOf = Annotated[Clock, given(lambda its: its.clock)]
CredentialStore = Annotated[Credentials, given(lambda its: its.credentials)]
MessageDirectionOf = Annotated[MessageDirection, given(lambda its: its.message_direction)]
DomainsOf = Annotated[SenderDomains, given(lambda its: its.domains)]
EventStore = Annotated[Events, given(lambda its: its.events)]
FeedsOf = Annotated[ComplaintFeeds, given(lambda its: its.feeds)]
HistoryOf = Annotated[MessageHistory, given(lambda its: its.history)]
LinkSignerOf = Annotated[LinkSigner, given(lambda its: its.link_signer)]
HooksOf = Annotated[WebhookRegistry, given(lambda its: its.hooks)]
JobsOf = Annotated[JobOrders, given(lambda its: its.jobs)]
LanesOf = Annotated[LaneOperations, given(lambda its: its.lanes)]
LogFilesOf = Annotated[LogFiles, given(lambda its: its.log_files)]
MessageStore = Annotated[Messages, given(lambda its: its.messages)]
OriginalEventsOf = Annotated[OriginalEvents, given(lambda its: its.originals)]
PersonaliserOf = Annotated[Personaliser, given(lambda its: its.personaliser)]
PreviewsOf = Annotated[Previews, given(lambda its: its.previews)]
PrivacyStore = Annotated[Privacy, given(lambda its: its.privacy)]
QueuesOf = Annotated[QueueOperations, given(lambda its: its.queues)]
HourStore = Annotated[Rollups, given(lambda its: its.hours)]
SchedulingOf = Annotated[Scheduling, given(lambda its: its.scheduling)]
RollupStore = Annotated[Rollups, given(lambda its: its.rollups)]
SearchStore = Annotated[SavedSearches, given(lambda its: its.searches)]
SessionStore = Annotated[SessionRecords, given(lambda its: its.sessions)]
StrikeStore = Annotated[Strikes, given(lambda its: its.strikes)]
SuppressionStore = Annotated[Suppressions, given(lambda its: its.suppressions)]
TemplatesOf = Annotated[TemplateLibrary, given(lambda its: its.templates)]
TokenStore = Annotated[Tokens, given(lambda its: its.tokens)]
UsersOf = Annotated[UserAdministration, given(lambda its: its.user_administration)]
UserStore = Annotated[Users, given(lambda its: its.users)]
