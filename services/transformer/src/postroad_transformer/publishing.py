"""Outbound messages published to the shards of the sender, once each.

What of a submission is published is remembered until all of it is, so that a submission that has
to be tried again publishes the rest only.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from postroad_common.broker.publisher import Publisher
from postroad_common.broker.topology import OUTBOUND
from postroad_common.broker.turns import TurnPublisher
from postroad_common.caching import Cache
from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.submission import Recipient, Submission
from postroad_common.store.bodies import Bodies
from postroad_common.tokens import LinkSigner
from postroad_transformer.archive import ArchiveWriter, Entry
from postroad_transformer.composing.composer import ComposedContent, Composer
from postroad_transformer.composing.outbound import Envelopes, Group, Stored, groups
from postroad_transformer.composing.rules import Rules
from postroad_transformer.fairness import FairTurns
from postroad_transformer.templates import login_of

GROUPS_AT_ONCE = 16  # messages that are made in one go, and published together
SLICE = 0.01  # seconds, about, for which messages are made without a pause
KEEP_BODY = 86_400.0  # seconds that a stored body outlives its message
GROWTH = 2  # times the limit to which a body that came inline may grow
SHARED = 131_072  # octets of a body that is stored once rather than copied for very many
COPIES = 4_194_304  # octets of a submission's copies above which it is
MAX_REMEMBERED = 1_000  # submissions in part published


@dataclass(frozen=True, slots=True)
class PublishingPolicy:
    """What the handler decides by; `inline_body_max` is in octets."""

    rules: Rules
    links: LinkSigner
    bounces: BounceAddresses
    inline_body_max: int


@dataclass(slots=True)
class _Progress:
    """What of a submission is safe already, should the rest have to be tried again."""

    published: set[str] = field(default_factory=set)  # by the first message id of each group
    stored: Stored | None = None
    entry: Entry | None = None  # of the archive


class Publications:
    """Publishes the messages of submissions and knows which are in part published."""

    def __init__(
        self, publisher: Publisher, bodies: Bodies, archive: ArchiveWriter, policy: PublishingPolicy
    ) -> None:
        self._publisher = TurnPublisher(publisher)
        self._bodies = bodies
        self._archive = archive
        self._policy = policy
        self._progress: Cache[str, _Progress] = Cache(MAX_REMEMBERED)
        self._turns = FairTurns(1, 1)

    async def publish(
        self,
        submission: Submission,
        composer: Composer,
        recipients: Sequence[Recipient],
        entry: Entry | None,
        return_path: str | None = None,
    ) -> None:
        """Publish what of a submission is not published yet, and note it in its archive's `entry`.

        Of a test everything is made, and nothing published: what the sender does not get is not
        sent.
        Bounce addresses are at the host `return_path`, if there is one.

        Raises:
            StoreAway: the body cannot be stored; nothing is published.
            BrokerAway: some is not confirmed; the rest is remembered as done.
        """
        progress = self._recall(submission.id)
        everyone = groups(submission, recipients, personal=composer.template.is_personal)
        if progress.stored is None and self._is_stored(submission, composer, len(everyone)):
            progress.stored = await self._store(submission, composer, entry)
        envelopes = Envelopes(
            submission, composer, self._policy.bounces, progress.stored, return_path
        )
        todo = [group for group in everyone if group[0].id not in progress.published]
        if entry is not None:
            await self._begin(entry, progress, composer)
        cost = composer.cost
        together = max(1, min(GROUPS_AT_ONCE, int(SLICE / cost)))
        for at in range(0, len(todo), together):
            some = todo[at : at + together]
            if cost * len(todo) <= SLICE:
                made = [_make(group, composer, envelopes) for group in some]
            else:
                async with self._turns.take(login_of(submission)):
                    made = await _make_in_turn(some, composer, envelopes)
            work: list[Coroutine[Any, Any, None]] = []
            for group, content, frame in made:
                if not submission.test:
                    work.append(self._publish_one(group, frame, progress))
                if entry is not None:
                    entry.add(group, content)
            if entry is not None and entry.is_full:
                work.append(self._archive.keep(entry))
            await run_all(work)

    def forget(self, submission_id: str) -> None:
        """Forget the progress of a submission that is done."""
        self._progress.pop(submission_id)

    async def _begin(self, entry: Entry, progress: _Progress, composer: Composer) -> None:
        """Begin `entry`; what a try before this one has published is handed on first."""
        earlier, progress.entry = progress.entry, entry
        if earlier is not None and earlier.has_copies:
            await self._archive.keep(earlier)
        entry.begin(composer, progress.stored)

    async def _publish_one(
        self, group: Group, frame: tuple[str, bytes], progress: _Progress
    ) -> None:
        destination, octets = frame
        await self._publisher.publish(OUTBOUND.name, destination, octets)
        progress.published.add(group[0].id)

    def _recall(self, submission_id: str) -> _Progress:
        progress = self._progress.get(submission_id)
        if progress is None:
            progress = _Progress()
            self._progress.put(submission_id, progress)
        return progress

    def _is_stored(self, submission: Submission, composer: Composer, copies: int) -> bool:
        """Whether the body travels as a reference.

        A message that came inline may grow to twice the limit before it is stored, so that small
        mail does not come to depend on the database by being transformed. What is not small and
        goes out in very many copies is stored once.
        """
        size = composer.template.body_size
        limit = self._policy.inline_body_max
        if submission.body is not None:
            return size > limit
        return size > GROWTH * limit or (size > SHARED and size * copies > COPIES)

    async def _store(
        self, submission: Submission, composer: Composer, entry: Entry | None
    ) -> Stored:
        if submission.body is not None and composer.template.body_at >= 0:
            return Stored(submission.body, composer.template.body_at)
        keep = max(submission.expires + KEEP_BODY, entry.expires if entry else 0.0)
        reference = await self._bodies.put(composer.skeleton(), keep)
        return Stored(reference, 0)


_Made = tuple[Group, ComposedContent, tuple[str, bytes]]


def _make(group: Group, composer: Composer, envelopes: Envelopes) -> _Made:
    """Return the content of the message to `group`, and its frame."""
    content = composer.content(group[0].id)
    return group, content, envelopes.frame(group, content)


async def _make_in_turn(
    some: Sequence[Group], composer: Composer, envelopes: Envelopes
) -> list[_Made]:
    """Return the messages to `some`, and give other work a turn of the event loop.

    Hashing a large body lets other threads run, so that is done in one.
    """
    if composer.cost > SLICE:
        return [await asyncio.to_thread(_make, group, composer, envelopes) for group in some]
    made = [_make(group, composer, envelopes) for group in some]
    await asyncio.sleep(0)
    return made


async def run_all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of `work` at once; only then raise what went wrong first."""
    coroutines = list(work)
    if len(coroutines) == 1:
        await coroutines[0]
        return
    for result in await asyncio.gather(*coroutines, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
