"""Answers how a mail would be sent: by the code that sends it, but for what leaves traces.

Links and bounce addresses are signed with a key that ends with this process and is known to no
other, so none of them works: a click on one is a click on nothing. There are no DKIM signatures,
which would make a preview a mail that anybody could send on; the keys that would sign are named.
Images to be hosted are not stored.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence

from postroad_common.mail.verp import BounceAddresses
from postroad_common.schemas.framing import FrameError, decode, encode
from postroad_common.schemas.preview import MailChange, PreviewAnswer
from postroad_common.schemas.submission import Submission
from postroad_common.store.images import HostedImage
from postroad_common.tokens import Keyring, LinkSigner
from postroad_transformer.budget import HeavyError
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.outbound import wants_bounce_address
from postroad_transformer.composing.template import Template
from postroad_transformer.lookups.signing_keys import SigningKeys
from postroad_transformer.previews.explaining import explain
from postroad_transformer.previews.reasons import BOUNCES
from postroad_transformer.publishing import PublishingPolicy
from postroad_transformer.reading.sender import list_of, peek_sender_domain
from postroad_transformer.templates import TemplateMaker
from postroad_transformer.workers.pool import WorkerPool

MAX_ANSWER = 15_000_000  # octets; RabbitMQ takes 16 MiB
MAX_HEADER = 65_536  # octets in which the From field is looked for


class NoImages:
    """Stands for the store of hosted images, and stores none."""

    async def keep(self, _: Sequence[HostedImage]) -> bool:
        """Return that all is well."""
        return True


class Previewer:
    """Makes previews by `policy`; heavy mail has processes of its own, in `workers`."""

    def __init__(self, policy: PublishingPolicy, keys: SigningKeys, workers: WorkerPool) -> None:
        self._policy = policy
        self._keys = keys
        self._templates = TemplateMaker(policy.rules, NoImages(), workers)
        self._keyring = Keyring([secrets.token_hex(32)])
        self._bounces = BounceAddresses(self._keyring, policy.bounces.domain)

    async def answer(self, question: bytes) -> bytes:
        """Return the frame of the answer to `question`, the frame of a submission."""
        try:
            submission, body = decode(Submission, question)
        except FrameError as error:
            return encode(PreviewAnswer(refused=str(error)))
        return await self._preview(submission, bytes(body))

    async def _preview(self, submission: Submission, raw: bytes) -> bytes:
        recipient = submission.recipients[0]
        head = raw[:MAX_HEADER]
        domain = peek_sender_domain(head)
        account = submission.account
        await self._keys.find_many([(account, domain)] if domain else [])
        host = self._keys.tracking_host((account, domain)) if domain else None
        template = await self._make_template(raw, submission, host)
        rules = self._policy.rules.at(host)
        signer = LinkSigner(self._keyring, rules.base_url)
        composer = Composer(template, signer, (), time.time())
        content = composer.content(recipient.id)
        message = content.head + composer.body(content)
        if len(message) > MAX_ANSWER:
            return encode(PreviewAnswer(refused="the mail is too large to be shown"))
        links = signer.for_message(recipient.id)
        changes = await asyncio.to_thread(explain, raw, submission, template, rules, links)
        envelope, signatures = await self._envelope(submission, template, recipient.id)
        if envelope != submission.envelope:
            changes.append(
                MailChange(
                    kind="envelope", reason=BOUNCES, before=submission.envelope, after=envelope
                )
            )
        offered = self._policy.rules.header.unsubscribe_url is not None
        answer = PreviewAnswer(
            envelope=envelope,
            list=list_of(submission, head, offered=offered),
            signatures=signatures,
            changes=tuple(changes),
        )
        return encode(answer, message)

    async def _make_template(
        self, raw: bytes, submission: Submission, host: str | None
    ) -> Template:
        try:
            return await self._templates.make_light(raw, submission, host)
        except HeavyError:
            return await self._templates.make_heavy(raw, submission, host)

    async def _envelope(
        self, submission: Submission, template: Template, message_id: str
    ) -> tuple[str, tuple[str, ...]]:
        """Return the address of MAIL FROM, and the keys that would sign."""
        path: str | None = None
        signatures: tuple[str, ...] = ()
        if template.sender_domain is not None:
            pair = (submission.account, template.sender_domain)
            keys = (await self._keys.find_many([pair]))[pair]
            signatures = tuple([f"{key.selector}._domainkey.{key.domain}" for key in keys])
            path = self._keys.return_path(pair)
        if not wants_bounce_address(submission):
            return submission.envelope, signatures
        return self._bounces.address(message_id, path), signatures
