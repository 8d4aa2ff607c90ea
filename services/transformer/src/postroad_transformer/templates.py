"""Where the template of a submission is made: on the event loop, or in a process of its own.

Most mail is light: a millisecond or two, which is less than a process would add. What may take
longer raises `HeavyError` on the loop and is made again by the pool; what takes too long there goes
out with its HTML as it came, and the reason among the facts.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from postroad_common.schemas.submission import Submission
from postroad_common.store.images import HostedImage
from postroad_transformer import metrics
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import Template, make_template
from postroad_transformer.workers.pool import GivenUpError, UnansweredError, WorkerPool

IN_THREAD = 65_536  # octets; the template of a larger message is made beside the event loop


def login_of(submission: Submission) -> str:
    """Return the name under which the work on a submission waits for its turn."""
    return f"{submission.account}\n{submission.credential}"


class ImageKeeper(Protocol):
    """Keeps hosted images for the tracker."""

    async def keep(self, images: Sequence[HostedImage], /) -> bool:
        """Store `images`; False if their mail has to carry them itself."""


class TemplateMaker:
    """Makes templates by `rules`, and sees to it that their images are stored."""

    def __init__(self, rules: Rules, images: ImageKeeper, workers: WorkerPool) -> None:
        self._rules = rules
        self._images = images
        self._workers = workers

    async def make_light(self, raw: bytes, submission: Submission, host: str | None) -> Template:
        """Return the template of the message `raw`, whose links lead to the tracking `host`.

        Raises:
            HeavyError: it is more than the event loop may do.
        """
        began = time.perf_counter()
        rules = self._rules.at(host)
        template = await _make_here(raw, submission, rules)
        if not await self._images.keep(template.images):
            template = _told(await _make_here(raw, _embedding(submission), rules))
        return _observed(template, began)

    async def make_heavy(
        self, raw: bytes, submission: Submission, host: str | None, *, again: bool = False
    ) -> Template:
        """Return the template of the message `raw`, as `make_light`, however long it takes.

        Raises:
            UnansweredError: with `again`, which says that it may be tried again, the machine is too
                busy.
        """
        began = time.perf_counter()
        rules = self._rules.at(host)
        template = await self._make_apart(raw, submission, rules, again=again)
        if not await self._images.keep(template.images):
            embedding = _embedding(submission)
            template = _told(await self._make_apart(raw, embedding, rules, again=again))
        return _observed(template, began)

    async def _make_apart(
        self, raw: bytes, submission: Submission, rules: Rules, *, again: bool
    ) -> Template:
        try:
            login = login_of(submission)
            return await self._workers.make_template(login, raw, submission, rules)
        except (GivenUpError, UnansweredError) as error:
            if isinstance(error, UnansweredError):
                if again:
                    raise
                metrics.GIVEN_UP.labels("busy").inc()
            plain = _without_content_changes(submission)
            template = await asyncio.to_thread(make_template, raw, plain, rules)
            template.facts["mime"] = [f"HTML left as it is: {error}"]
            return template


async def _make_here(raw: bytes, submission: Submission, rules: Rules) -> Template:
    if len(raw) > IN_THREAD:  # its attachments are to be gone through
        return await asyncio.to_thread(make_template, raw, submission, rules, light=True)
    template = make_template(raw, submission, rules, light=True)
    await asyncio.sleep(0)  # let publications and confirms through between messages
    return template


def _without_content_changes(submission: Submission) -> Submission:
    off = {"inlinecss": False, "clicktracking": False, "openstracking": False}
    features = submission.features.overridden(off)
    changes = {"features": features, "images_hosted": False, "text_from_html": False}
    return submission.model_copy(update=changes)


def _embedding(submission: Submission) -> Submission:
    return submission.model_copy(update={"images_hosted": False})


def _told(template: Template) -> Template:
    template.facts["hosting"] = "left embedded: the images could not be stored"
    return template


def _observed(template: Template, began: float) -> Template:
    metrics.TEMPLATE_SECONDS.observe(time.perf_counter() - began)
    if template.body_at >= 0:
        metrics.UNCHANGED.inc()
    return template
