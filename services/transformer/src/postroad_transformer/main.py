"""Starts the transformer: the only place where its objects are made."""

from postroad_common.broker.consumer import Consumer
from postroad_common.broker.questions import Answerer
from postroad_common.broker.topology import ACCEPTED, PREVIEWS
from postroad_common.mail.verp import BounceAddresses
from postroad_common.service import ServiceContext, run
from postroad_common.tokens import Keyring, LinkSigner
from postroad_transformer.archive import ArchiveWriter
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.rules import Rules
from postroad_transformer.handler import Dependencies, Transformer
from postroad_transformer.lookups.images import ImageStore
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.lookups.snapshot import SuppressionSnapshot
from postroad_transformer.lookups.suppressions import SuppressionCheck
from postroad_transformer.previews.preview import Previewer
from postroad_transformer.publishing import PublishingPolicy
from postroad_transformer.settings import Settings
from postroad_transformer.workers.pool import HtmlBounds, WorkerPool


def make_policy(settings: Settings) -> PublishingPolicy:
    """Return what the settings say about the mail."""
    keyring = Keyring(settings.secret)
    header = HeaderRules(
        hostname=settings.hostname,
        feedback_sender=settings.feedback_sender,
        feedback_key=keyring.mac("feedback-id", b"", 32),
        unsubscribe_url=settings.tracking_url if settings.list_unsubscribe else None,
    )
    return PublishingPolicy(
        rules=Rules(header, settings.tracking_url, settings.css_engine),
        links=LinkSigner(keyring, settings.tracking_url),
        bounces=BounceAddresses(keyring, settings.bounce_domain),
        inline_body_max=settings.inline_body_max,
    )


async def build(context: ServiceContext[Settings]) -> None:
    """Put the service together and start it."""
    database = context.database
    archive = ArchiveWriter(
        context.publisher, database.archive, database.bodies, context.settings.archive_days
    )
    workers = WorkerPool()
    snapshot = SuppressionSnapshot(database.suppressions)
    dependencies = Dependencies(
        publisher=context.publisher,
        events=context.events,
        bodies=database.bodies,
        keys=SigningKeys(database.domains),
        suppressions=SuppressionCheck(
            database.suppressions, snapshot, context.settings.simulator_domain
        ),
        images=ImageStore(database.images),
        archive=archive,
        workers=workers,
    )
    policy = make_policy(context.settings)
    transformer = Transformer(dependencies, policy)
    preview_workers = WorkerPool(
        HtmlBounds(processes=1)
    )  # apart, so that no mail waits for a preview
    previewer = Previewer(policy, dependencies.keys, preview_workers)
    answerer = Answerer(context.link, PREVIEWS, previewer.answer)
    consumer = Consumer(
        context.link,
        context.publisher,
        ACCEPTED,
        marks=database.marks,
        batch=32,
        prefetch=256,
        room=256,
        parallel=4,
        ends_later=True,
    )
    context.spawn(snapshot.run(), "suppressions")
    await consumer.start(transformer.transform)
    await answerer.start()
    context.on_drain(answerer.stop)
    context.on_drain(consumer.stop)
    context.on_drain(transformer.close)
    context.on_drain(workers.close)
    context.on_drain(preview_workers.close)
    context.on_drain(archive.close)


def main() -> None:
    """Run the service until it is told to stop."""
    run("transformer", Settings, build)
