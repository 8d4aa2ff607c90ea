"""Builds the bounce-processor and starts it."""

import time

from postroad_bounce_processor.effects import EffectCommitter
from postroad_bounce_processor.handlers.failures import FailuresHandler
from postroad_bounce_processor.handlers.feedback import FeedbackReports
from postroad_bounce_processor.handlers.returns import ReturnsHandler
from postroad_bounce_processor.reporting.pace import Pace
from postroad_bounce_processor.settings import Settings
from postroad_bounce_processor.understanding.formats import built_in_formats
from postroad_common.broker.consumer import Consumer
from postroad_common.broker.topology import FAILURES, RETURNS
from postroad_common.classification.classifier import built_in
from postroad_common.service import ServiceContext, run
from postroad_common.tokens import Keyring

LINGER_SECONDS = 0.02
"""How long a return waits for others, so that they share what the store and the broker cost."""

RETURNS_PER_MESSAGE = 25.0
RETURNS_PER_MESSAGE_PER_SECOND = 0.01
KEPT_REPORTS = 500.0
"""Complaints without a message that an account may have kept at once, and how fast that renews."""
KEPT_REPORTS_PER_SECOND = 0.05


async def build(context: ServiceContext[Settings]) -> None:
    """Make the objects, start the consumers, and register how they stop."""
    settings = context.settings
    classifier = built_in()
    built_in_formats()
    committer = EffectCommitter(context.database, context.events, context.publisher)
    origins = Pace()
    feedback = FeedbackReports(
        context.database,
        Keyring(settings.secret),
        bounce_domain=settings.bounce_domain,
        bounce_max_age_seconds=settings.bounce_max_age_days * 86_400,
        kept=Pace(KEPT_REPORTS_PER_SECOND, KEPT_REPORTS, longest_wait=0.0),
        clock=time.time,
    )
    returns = Consumer(
        context.link,
        context.publisher,
        RETURNS,
        marks=context.database.marks,
        batch=64,
        prefetch=192,
        linger=LINGER_SECONDS,
        parallel=2,
    )
    failures = Consumer(
        context.link,
        context.publisher,
        FAILURES,
        marks=context.database.marks,
        batch=32,
        prefetch=128,
        parallel=2,
    )
    context.on_drain(returns.stop)
    context.on_drain(failures.stop)
    await returns.start(
        ReturnsHandler(
            context.database,
            committer,
            classifier,
            feedback,
            hostname=settings.hostname,
            bounce_domain=settings.bounce_domain,
            simulator_domain=settings.simulator_domain,
            max_deliver_seconds=settings.max_deliver_seconds,
            origins=origins,
            messages=Pace(RETURNS_PER_MESSAGE_PER_SECOND, RETURNS_PER_MESSAGE, longest_wait=0.0),
            clock=time.time,
        )
    )
    await failures.start(
        FailuresHandler(
            context.database,
            committer,
            classifier,
            hostname=settings.hostname,
            bounce_domain=settings.bounce_domain,
            simulator_domain=settings.simulator_domain,
            max_deliver_seconds=settings.max_deliver_seconds,
            inline_body_max=settings.inline_body_max,
            origins=origins,
            clock=time.time,
        )
    )


def main() -> None:
    """Run the service until it is told to stop."""
    run("bounce-processor", Settings, build)
