"""Starts ingress-smtp: the only place where its objects are built."""

import asyncio
import ssl
import time
from dataclasses import replace

from postroad_common.broker import topology
from postroad_common.broker.bundling import BundlePublisher
from postroad_common.errors import PostroadError
from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.mail.verp import BounceAddresses
from postroad_common.openfiles import allow_open_files
from postroad_common.service import ServiceContext, run
from postroad_common.store.sendingrights import SendingRules
from postroad_common.tokens import Keyring
from postroad_ingress_smtp import metrics
from postroad_ingress_smtp.admission import Admissions, ConnectionLimiter, Memory, rates
from postroad_ingress_smtp.authentication import Authentication
from postroad_ingress_smtp.backends import ReturnBackend, SubmissionBackend
from postroad_ingress_smtp.connection import Shared
from postroad_ingress_smtp.content import ContentRules
from postroad_ingress_smtp.failures import Failures
from postroad_ingress_smtp.injector import Injector
from postroad_ingress_smtp.listener import ListenerSpec, SmtpListener, open_socket
from postroad_ingress_smtp.logins import Logins
from postroad_ingress_smtp.operatormail import OperatorMail
from postroad_ingress_smtp.settings import Settings
from postroad_ingress_smtp.tls import Certificate
from postroad_smtp.server.lineends import LineEnds

_BACKLOG = 4096
_BODY_KEEP_SECONDS = 7 * 86_400.0


class StartError(PostroadError):
    """The service cannot start with what it was given; the message says why."""


async def build(context: ServiceContext[Settings]) -> None:
    """Make the three listeners and let them listen."""
    await open_listeners(context)


async def open_listeners(context: ServiceContext[Settings]) -> list[SmtpListener]:
    """Return the listeners, which listen already and are closed when the context drains."""
    settings = context.settings
    limits = settings.limits.smtp
    allow_open_files(limits.connections + limits.mx_connections)
    certificate = _load_certificate(settings)
    context.spawn(certificate.watch(settings.tls_watch_seconds), "certificate")

    logins = Logins(context.database.credentials.find, limits, time.monotonic)
    authentication = Authentication(logins, Failures(limits), time.monotonic)
    shared = Shared(
        hostname=settings.hostname,
        max_message_size=settings.max_message_size,
        max_recipients=settings.max_recipients,
        limits=limits,
        memory=Memory(limits.memory),
        tls=lambda: certificate.context,
        authentication=authentication,
        admissions=Admissions(
            ConnectionLimiter(limits.connections, limits.connections_per_address),
            ConnectionLimiter(
                limits.connections_before_login, limits.connections_before_login_per_address
            ),
            grace=limits.login_grace_seconds,
        ),
        login_connections=ConnectionLimiter(limits.connections, limits.connections_per_login),
    )
    # Strangers have connections and memory of their own: what they use up, no customer lacks.
    mx_limits = limits.of_mx()
    mx_shared = replace(
        shared,
        # A report with the largest mail in it; only its beginning says what happened.
        max_message_size=settings.max_message_size + limits.mx_message_size,
        kept_size=limits.mx_message_size,
        max_recipients=limits.mx_recipients,
        limits=mx_limits,
        memory=Memory(mx_limits.memory),
        admissions=Admissions(
            ConnectionLimiter(mx_limits.connections, mx_limits.connections_per_address), None
        ),
    )
    metrics.MEMORY.set_function(lambda: shared.memory.used + mx_shared.memory.used)
    injector = Injector(
        publisher=context.publisher,
        submissions=BundlePublisher(
            context.publisher, topology.ACCEPTED.name, most=settings.bundle_mails
        ),
        bodies=context.database.bodies,
        inline_body_max=settings.inline_body_max,
        expire_seconds=settings.max_deliver_seconds,
        body_keep_seconds=_BODY_KEEP_SECONDS,
    )
    submission = SubmissionBackend(
        injector,
        events=context.events,
        logins=logins,
        sending=SendingRules(
            context.database.accounts, context.database.domains, context.database.rollups
        ),
        message_rates=rates(limits.messages_per_minute, 60),
        recipient_rates=rates(limits.recipients_per_minute, 60),
        rules=ContentRules(limits.line_length, limits.header_size, limits.received_headers),
    )
    keyring = Keyring(settings.secret)
    returns = ReturnBackend(
        injector,
        addresses=BounceAddresses(
            keyring,
            settings.bounce_domain,
            settings.bounce_max_age_days * 86_400,
        ),
        feedback=FeedbackAddresses(keyring, settings.bounce_domain, settings.feedback_name),
        # Returns come from robots and quote mail of any make: refused, they would be lost.
        rules=ContentRules(
            line_length=0,
            header_size=0,
            received_headers=0,
            line_ends=LineEnds.ANY,
            believes_seven_bit=False,
        ),
        rates=rates(limits.mx_returns_per_hour, 3600),
        feedback_rates=rates(limits.mx_complaints_per_hour, 3600),
        operator=_operator_mail(settings),
        most_hops=limits.received_headers,
    )

    proxies = settings.proxy_networks
    specs = (
        ListenerSpec("submission", settings.smtp_port, submission, proxies),
        ListenerSpec("submissions", settings.smtps_port, submission, proxies, implicit_tls=True),
        ListenerSpec("mx", settings.mx_port, returns, proxies),
    )
    sockets = [
        open_socket(settings.bind, spec.port, reuse_port=settings.reuse_port, backlog=_BACKLOG)
        for spec in specs
    ]
    listeners = [
        SmtpListener(listening, spec, shared if spec.backend is submission else mx_shared)
        for listening, spec in zip(sockets, specs, strict=True)
    ]
    for listener in listeners:
        listener.start()

    async def drain() -> None:
        shared.draining = mx_shared.draining = True
        for listener in listeners:
            listener.close()
        try:
            await asyncio.gather(*(listener.wait_closed() for listener in listeners))
        finally:
            for listener in listeners:
                listener.abort()
            logins.close()

    context.on_drain(drain)
    return listeners


def _operator_mail(settings: Settings) -> OperatorMail | None:
    """Return who gets the mail to postmaster; None where it is refused."""
    if settings.postmaster is None:
        return None
    return OperatorMail(settings.postmaster, {settings.hostname, settings.bounce_domain})


def _load_certificate(settings: Settings) -> Certificate:
    try:
        return Certificate(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"POSTROAD_TLS_CERT and POSTROAD_TLS_KEY cannot be used: {error}"
        ) from error


def main() -> None:
    """Run until SIGTERM."""
    run("ingress-smtp", Settings, build, clients_wait=True)
