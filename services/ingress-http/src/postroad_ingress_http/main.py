"""Starts ingress-http, and is the one place where its objects are built."""

import structlog

from postroad_common.broker.deadletters import DeadLetters
from postroad_common.broker.depths import QueueDepths
from postroad_common.health import HttpListener
from postroad_common.service import ServiceContext, run
from postroad_common.tokens import Keyring
from postroad_ingress_http import application
from postroad_ingress_http.authentication import Authenticator
from postroad_ingress_http.bootstrap import Bootstrap
from postroad_ingress_http.buckets import Buckets
from postroad_ingress_http.dashboard import Dashboard
from postroad_ingress_http.dnscheck import DnsChecker
from postroad_ingress_http.dnsrecords import DnsRules
from postroad_ingress_http.handover import Handover
from postroad_ingress_http.limits import Limits
from postroad_ingress_http.parts import Parts
from postroad_ingress_http.settings import Settings
from postroad_ingress_http.submission import SubmissionRules
from postroad_ingress_http.wire import GuardedHttp

_ENVELOPE_ROOM = 1 << 20  # octets of a request beside its message
_log = structlog.get_logger(__name__)


def build_parts(context: ServiceContext[Settings]) -> Parts:
    """The objects behind the handlers."""
    settings = context.settings
    limits = settings.limits.http
    return Parts(
        database=context.database,
        health=context.health,
        authenticator=Authenticator(
            context.database.tokens.find_by_hash,
            requests=Buckets(limits.burst, limits.rate),
            failures=Buckets(limits.auth_failures, limits.auth_failures_per_minute / 60),
        ),
        handover=Handover(
            context.publisher,
            context.database.bodies,
            context.events,
            inline_max=settings.inline_body_max,
        ),
        depths=QueueDepths(context.link),
        dead_letters=DeadLetters(context.link, context.publisher),
        dns=DnsChecker(settings.dns),
        dns_rules=DnsRules(hostname=settings.hostname),
        rules=SubmissionRules(
            hostname=settings.hostname,
            max_message_size=settings.max_message_size,
            max_recipients=settings.max_recipients,
            deliver_seconds=settings.max_deliver_seconds,
        ),
        limits=Limits(
            # JSON and forms need up to three octets for one of the message.
            send_body=3 * settings.max_message_size + _ENVELOPE_ROOM,
            requests=limits.requests,
            bodies_in_memory=max(limits.memory, 3 * settings.max_message_size + _ENVELOPE_ROOM),
        ),
    )


async def build(context: ServiceContext[Settings]) -> None:
    """Builds and starts the service."""
    settings = context.settings
    parts = build_parts(context)
    dashboard = Dashboard(
        parts,
        Keyring(settings.secret),
        failures=Buckets(
            settings.limits.http.auth_failures,
            settings.limits.http.auth_failures_per_minute / 60,
        ),
        secure=(settings.http_url or "").startswith("https://"),
    )
    bootstrap = Bootstrap(
        context.database,
        email=settings.admin_email,
        password=settings.admin_password,
        token=settings.admin_token,
    )
    context.health.add_check("first-account", bootstrap.check)
    context.spawn(bootstrap.run(), "bootstrap")
    listener = HttpListener(
        application.build(parts, dashboard),
        settings.bind,
        settings.http_port,
        reuse_port=settings.reuse_port,
        grace=settings.grace_seconds,
        http=GuardedHttp,
    )
    await listener.start()
    context.on_drain(listener.stop)
    _log.info("listening", port=listener.port)


def main() -> None:
    """The program."""
    run("ingress-http", Settings, build)
