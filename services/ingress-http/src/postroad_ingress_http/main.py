"""Starts ingress-http, and is the one place where its objects are built."""

import time
from urllib.parse import urlsplit

import structlog

from postroad_common.broker.bundling import BundlePublisher
from postroad_common.broker.deadletters import DeadLetters
from postroad_common.broker.depths import QueueDepths
from postroad_common.broker.questions import Asker
from postroad_common.broker.topology import ACCEPTED
from postroad_common.listener import HttpListener
from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.schemas.submission import Client
from postroad_common.service import ServiceContext, run
from postroad_common.store.accounts import SYSTEM_ACCOUNT
from postroad_common.store.sendingrights import SendingRules
from postroad_common.tokenbucket import TokenBuckets
from postroad_common.tokens import Keyring, LinkSigner
from postroad_common.web.guard import UrlGuard
from postroad_common.web.resolver import Resolver
from postroad_ingress_http import application
from postroad_ingress_http.access.accounts import AccountAdministration
from postroad_ingress_http.access.authentication import Authenticator
from postroad_ingress_http.access.bootstrap import Bootstrap
from postroad_ingress_http.access.identity import IdentityProvider
from postroad_ingress_http.access.rolerules import NO_RULES
from postroad_ingress_http.access.secondfactor import SecondFactor
from postroad_ingress_http.access.users import Notify, UserAdministration
from postroad_ingress_http.dashboard.clients import SmtpPlace
from postroad_ingress_http.dashboard.frame import Frame
from postroad_ingress_http.dashboard.notes import SealedNotes
from postroad_ingress_http.dashboard.passwords import PasswordCheck
from postroad_ingress_http.dashboard.sealing import Sealer
from postroad_ingress_http.dashboard.sessions import Sessions
from postroad_ingress_http.dashboard.visitor import Dashboard, SignOnPlace
from postroad_ingress_http.dependencies import Dependencies
from postroad_ingress_http.domains.dnscheck import DnsChecker
from postroad_ingress_http.domains.dnsrecords import DnsRules
from postroad_ingress_http.domains.senderdomains import SenderDomains
from postroad_ingress_http.domains.watch import DomainWatch
from postroad_ingress_http.exports.logfiles import LogFiles
from postroad_ingress_http.exports.originals import OriginalEvents
from postroad_ingress_http.fetching.download import FileClient
from postroad_ingress_http.fetching.places import FetchPlaces
from postroad_ingress_http.history.directives import MessageDirection
from postroad_ingress_http.history.feeds import ComplaintFeeds
from postroad_ingress_http.history.messages import MessageHistory
from postroad_ingress_http.hooks.calls import WebhookCalls
from postroad_ingress_http.hooks.registry import WebhookRegistry
from postroad_ingress_http.http.connection import GuardedHttp
from postroad_ingress_http.http.guard import RequestLimits
from postroad_ingress_http.jobs.acts import JobActs
from postroad_ingress_http.jobs.mandate import Mandates
from postroad_ingress_http.jobs.orders import JobOrders
from postroad_ingress_http.jobs.worker import JobWorker
from postroad_ingress_http.operations.lanes import LaneOperations
from postroad_ingress_http.operations.queue_watch import QueueWatch
from postroad_ingress_http.operations.queues import QueueOperations
from postroad_ingress_http.previews.preview import PreviewPlaces, Previews
from postroad_ingress_http.sending.accept import Acceptance, accept
from postroad_ingress_http.sending.files import RemoteFiles
from postroad_ingress_http.sending.handout import HandOut
from postroad_ingress_http.sending.injector import Injector
from postroad_ingress_http.sending.personalise import Personaliser
from postroad_ingress_http.sending.request import SendFields
from postroad_ingress_http.sending.scheduling import Scheduling
from postroad_ingress_http.sending.submission import RequestOrigin, SubmissionRules
from postroad_ingress_http.sending.templates import TemplateLibrary
from postroad_ingress_http.settings import HttpLimits, Settings
from postroad_ingress_http.templating.renderer import Renderer

_ENVELOPE_ROOM = 1 << 20  # octets of a request beside its message
_log = structlog.get_logger(__name__)


async def build(context: ServiceContext[Settings]) -> None:
    """Build and start the service."""
    settings = context.settings
    database = context.database
    dependencies = build_dependencies(context)
    bootstrap = Bootstrap(
        database.accounts,
        database.users,
        database.tokens,
        email=settings.admin_email,
        password=settings.admin_password,
        token=settings.admin_token,
    )
    listener = HttpListener(
        application.build(
            dependencies,
            build_dashboard(context),
            build_limits(settings),
            settings.metrics_networks,
        ),
        settings.bind,
        settings.http_port,
        reuse_port=settings.reuse_port,
        grace=settings.grace_seconds,
        forwarded=",".join(map(str, settings.trusted_proxies)) or None,
        http=GuardedHttp,
    )
    context.health.add_check("first-account", bootstrap.check)
    context.spawn(bootstrap.run(), "bootstrap")
    watch = DomainWatch(database.domains, dependencies.domains, dependencies.clock)
    context.spawn(watch.run(), "domains")
    context.spawn(build_worker(context, dependencies).run(), "jobs")
    hand_out = HandOut(database.scheduled, context.publisher, dependencies.clock)
    context.spawn(hand_out.run(), "hand-out")
    context.spawn(QueueWatch(QueueDepths(context.link), database.backlogs).run(), "queues")
    await listener.start()
    context.on_drain(listener.stop)
    _log.info("listening", port=listener.port)


def build_dependencies(context: ServiceContext[Settings]) -> Dependencies:
    """Build what the handlers of the API and the dashboard work with."""
    settings = context.settings
    database = context.database
    limits = settings.limits.http
    clock = time.time
    scheduling = Scheduling(database.scheduled, database.bodies, context.events, clock)
    injector = Injector(
        context.publisher,
        BundlePublisher(context.publisher, ACCEPTED.name, most=settings.bundle_mails),
        database.bodies,
        context.events,
        scheduling,
        inline_max=settings.inline_body_max,
    )
    rules = SubmissionRules(
        hostname=settings.hostname,
        max_message_size=settings.max_message_size,
        deliver_seconds=settings.max_deliver_seconds,
    )
    depths = QueueDepths(context.link)
    hooks = WebhookRegistry(database.webhooks, database.outbox)
    history = MessageHistory(database.messages, database.archive, clock)
    renderer = Renderer()
    context.on_drain(renderer.close)
    templates = TemplateLibrary(database.templates, renderer)
    personaliser = Personaliser(templates, renderer, settings.max_recipients)
    sending = SendingRules(database.accounts, database.domains, database.rollups)
    acceptance = Acceptance(
        rules,
        injector,
        database.idempotency,
        personaliser,
        sending,
        build_files(settings),
        clock,
    )
    return Dependencies(
        acceptance=acceptance,
        account_administration=AccountAdministration(database.accounts, clock),
        accounts=database.accounts,
        audit=database.audit,
        authenticator=Authenticator(
            database.tokens.find_by_hash,
            requests=TokenBuckets(limits.burst, limits.rate),
            failures=_failures(limits),
            used=database.tokens.used,
        ),
        calls=WebhookCalls(hooks, database.outbox, database.replays),
        clock=clock,
        credentials=database.credentials,
        message_direction=MessageDirection(
            history, database.message_directives, clock, scheduled=scheduling.direct
        ),
        domains=SenderDomains(
            database.domains, DnsChecker(settings.dns), build_dns_rules(settings), clock
        ),
        events=database.events,
        feeds=ComplaintFeeds(
            FeedbackAddresses(
                Keyring(settings.secret), settings.bounce_domain, settings.feedback_name
            ),
            database.feedback_reports,
        ),
        health=context.health,
        history=history,
        link_signer=LinkSigner(Keyring(settings.secret), ""),
        hooks=hooks,
        jobs=JobOrders(database.jobs, database.messages, clock),
        lanes=LaneOperations(database.lanes, database.backlogs, depths, clock),
        log_files=LogFiles(database.events, database.messages, database.rollups, clock),
        messages=database.messages,
        originals=OriginalEvents(database.messages, database.events),
        privacy=database.privacy,
        queues=QueueOperations(depths, DeadLetters(context.link, context.publisher)),
        rollups=database.rollups,
        scheduling=scheduling,
        hours=database.hours,
        searches=database.searches,
        sessions=database.sessions,
        strikes=database.strikes,
        personaliser=personaliser,
        previews=Previews(acceptance, Asker(context.link), database.suppressions, PreviewPlaces()),
        suppressions=database.suppressions,
        templates=templates,
        tokens=database.tokens,
        user_administration=UserAdministration(
            database.users,
            database.invitations,
            database.sessions,
            clock=clock,
            base_url=settings.http_url,
            notify=build_notices(settings, acceptance),
        ),
        users=database.users,
    )


def build_worker(context: ServiceContext[Settings], its: Dependencies) -> JobWorker:
    """Return what works off jobs."""
    acts = JobActs(its.history, its.acceptance, its.message_direction, its.suppressions, its.clock)
    mandates = Mandates(its.tokens, its.users, its.clock)
    return JobWorker(
        context.database.jobs, its.messages, acts, mandates, its.clock, its.jobs.idling
    )


def build_files(settings: Settings) -> RemoteFiles:
    """Return what fetches the attachments that requests name by URL."""
    guard = UrlGuard(settings.attachment_allow_networks, Resolver(settings.dns).addresses)
    schemes = {"off": (), "https": ("https",), "any": ("http", "https")}[settings.attachment_urls]
    # In base64, 57 octets become a line of 78.
    most = settings.max_message_size * 57 // 78
    places = FetchPlaces(max(settings.limits.http.memory, 6 * most))
    return RemoteFiles(FileClient(guard, schemes) if schemes else None, places, most)


def build_dns_rules(settings: Settings) -> DnsRules:
    """Return the names of this installation."""
    return DnsRules(
        hostname=settings.hostname,
        bounce_domain=settings.bounce_domain,
        tracking_host=urlsplit(settings.tracking_url).hostname or settings.hostname,
        senders=settings.spf_senders,
    )


def build_notices(settings: Settings, acceptance: Acceptance) -> Notify | None:
    """Return what mails invitations and links; None where the settings name no sender."""
    sender = settings.notice_sender
    if sender is None:
        return None
    client = Client(ip="127.0.0.1", helo=settings.hostname, protocol="HTTP")
    origin = RequestOrigin(account=SYSTEM_ACCOUNT, credential="notices", client=client)

    async def notify(address: str, subject: str, text: str) -> None:
        mail = SendFields(
            sender=sender, recipient=address, to=[address], subject=subject, text=text
        )
        await accept(mail, origin, None, acceptance)

    return notify


def build_dashboard(context: ServiceContext[Settings]) -> Dashboard:
    """Build what only the dashboard works with."""
    settings = context.settings
    database = context.database
    keyring = Keyring(settings.secret)
    secure = (settings.http_url or "").startswith("https://")
    return Dashboard(
        frame=Frame(
            SealedNotes(keyring, secure=secure),
            time.time,
            sign_on=settings.oidc_label if settings.oidc_issuer else "",
        ),
        sign_on=build_sign_on(settings, keyring),
        sessions=Sessions(keyring, database.sessions, time.time),
        passwords=PasswordCheck(database.users, _failures(settings.limits.http)),
        second_factor=SecondFactor(database.users, keyring, time.time),
        smtp=SmtpPlace.of(settings.smtp_address, settings.hostname, settings.smtp_ca_file),
        secure=secure,
    )


def build_sign_on(settings: Settings, keyring: Keyring) -> SignOnPlace | None:
    """Return the identity provider of the settings, if they name one."""
    if settings.oidc_issuer is None:
        return None
    from postroad_ingress_http.access.singlesignon import SingleSignOn  # noqa: PLC0415 - see there

    provider = IdentityProvider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret,
        settings.oidc_roles or NO_RULES,
    )
    issuer = SingleSignOn(provider, time.time)
    return SignOnPlace(issuer, Sealer(keyring, "dashboard sign-on"), settings.http_url)


def build_limits(settings: Settings) -> RequestLimits:
    """Return the bounds on requests that follow from the settings."""
    limits = settings.limits.http
    # JSON and forms need up to three octets for one of the message.
    send_body = 3 * settings.max_message_size + _ENVELOPE_ROOM
    return RequestLimits(
        send_body=send_body,
        requests=limits.requests,
        unknown_requests=limits.requests_without_token,
        unknown_per_address=limits.requests_without_token_per_address,
        bodies_in_memory=max(limits.memory, send_body),
    )


def _failures(limits: HttpLimits) -> TokenBuckets[str]:
    """Return the bound on failed log-ins, by address or name."""
    return TokenBuckets(limits.auth_failures, limits.auth_failures_per_minute / 60)


def main() -> None:
    """Run the program."""
    run("ingress-http", Settings, build, clients_wait=True)
