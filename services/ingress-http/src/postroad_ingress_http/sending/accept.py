"""A mail over REST, accepted: the first of the five functions of one mail.

`accept` returns when guarantee 1 holds: the submission is on a replicated durable queue. From
there the transformer takes it. `ingress-smtp` has the same function for mail over SMTP.
"""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from postroad_common.errors import Transient
from postroad_common.mail.identifiers import derived_id, new_id
from postroad_common.store.access import within
from postroad_common.store.idempotency import Claim, Idempotency
from postroad_common.store.sendingrights import SendingRights, SendingRules
from postroad_ingress_http.http import patience
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.fields import beside_the_loop
from postroad_ingress_http.http.patience import LEAST_SECONDS
from postroad_ingress_http.sending.claims import STALE_SECONDS, held
from postroad_ingress_http.sending.files import (
    RemoteFiles,
    RequestFiles,
    is_remote,
    without_files,
)
from postroad_ingress_http.sending.injector import Injector
from postroad_ingress_http.sending.permissions import check_account, check_sender
from postroad_ingress_http.sending.personalise import Personaliser
from postroad_ingress_http.sending.request import SendFields, require_recipient
from postroad_ingress_http.sending.submission import (
    Identify,
    Mail,
    Prepared,
    RequestOrigin,
    SubmissionRules,
    prepare,
)

_AT_ONCE = 50  # mails of one request that are injected at the same time
_KEY = re.compile(r"[!-~]{1,255}")


async def accept(
    mail: SendFields,
    origin: RequestOrigin,
    once: "Once | None",
    acceptance: "Acceptance",
    files: RequestFiles | None = None,
) -> "AcceptedSubmission":
    """Check the mail, make its submission, inject it; return the id of each recipient's message.

    With `once`, the same request is accepted once within a day and answered alike every time.
    `files` are those of the request that this mail is one of.

    Raises:
        ApiError: 400, 409, 413 or 422, naming the field; 503, some of several mails are accepted.
        BrokerAway, StoreAway: it may not be safe; the client must be told so.
    """
    if once is None:
        now = acceptance.clock()  # the ids of a submission and of its messages have one time
        answer = await _inject(mail, origin, lambda _: new_id(now), acceptance, files)
        return AcceptedSubmission(answer)
    require_recipient(mail)  # what is wrong whenever it comes needs no key
    claim = await _claim(once, origin, acceptance.idempotency)
    if claim.status is not None and claim.answer is not None:
        return AcceptedSubmission(json.loads(claim.answer), claim.status, replayed=True)
    return await _inject_claimed(mail, origin, once, claim, acceptance, files=files)


async def _inject(
    mail: SendFields,
    origin: RequestOrigin,
    identify: Identify,
    acceptance: "Acceptance",
    files: RequestFiles | None,
) -> dict[str, str]:
    """Inject the mail, or the mails that it becomes for its recipients.

    All are checked before the first is injected.
    """
    mails = await acceptance.personaliser.mails(mail, origin.account)
    rights = await acceptance.sending.of(origin.account)
    check_account(rights, len(mails))
    if not any(map(is_remote, mail.attachments or ())):
        return await _inject_mails(mails, origin, identify, rights, acceptance)
    # Nothing is fetched for a mail that would be refused anyhow.
    first = without_files(mails[0])
    rehearsed = await prepare_mail(first, origin, acceptance.rules, acceptance.clock(), identify)
    check_sender(rights, origin, rehearsed)
    async with contextlib.AsyncExitStack() as request:
        if files is None:
            files = acceptance.files.of_request(origin.account)
            await request.enter_async_context(files)
        complete = await request.enter_async_context(files.filled(mails))
        return await _inject_mails(complete, origin, identify, rights, acceptance)


async def _inject_mails(
    mails: Sequence[Mail],
    origin: RequestOrigin,
    identify: Identify,
    rights: SendingRights,
    acceptance: "Acceptance",
) -> dict[str, str]:
    now = acceptance.clock()
    if len(mails) == 1:
        prepared = await prepare_mail(mails[0], origin, acceptance.rules, now, identify)
        check_account(rights, len(prepared.submission.recipients))
        check_sender(rights, origin, prepared)
        await acceptance.injector.inject(prepared)
        return prepared.answer()
    everything = []
    for number, one in enumerate(mails):
        prepared = await prepare_mail(one, origin, acceptance.rules, now, _apart(identify, one))
        check_sender(rights, origin, prepared)
        everything.append(prepared)
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
    await _inject_all(everything, acceptance.injector)
    return {name: address for one in everything for name, address in one.answer().items()}


async def prepare_mail(
    mail: Mail, origin: RequestOrigin, rules: SubmissionRules, now: float, identify: Identify
) -> Prepared:
    """Return the submission of `mail`, made beside the event loop if it is large.

    Raises:
        ApiError: as `prepare`.
    """
    return await beside_the_loop(mail.fields.octets, prepare, mail, origin, rules, now, identify)


def _apart(identify: Identify, mail: Mail) -> Identify:
    """Return `identify` with a submission id of its own for this mail of several."""
    return lambda part: identify(part or f"mail to {mail.recipients[0].text}")


async def _inject_all(everything: Sequence[Prepared], injector: Injector) -> None:
    """Inject the mails.

    Raises:
        BrokerAway, StoreAway: none may be safe.
        PartlyAcceptedError: some are safe.
    """
    for start in range(0, len(everything), _AT_ONCE):
        batch = everything[start : start + _AT_ONCE]
        if start:
            patience.begin()  # those before are safe: nothing is away
        ends = await asyncio.gather(*map(injector.inject, batch), return_exceptions=True)
        failures = [end for end in ends if end is not None]
        if not failures:
            continue
        safe = start + len(batch) - len(failures)
        if safe and isinstance(failures[0], Transient):
            raise PartlyAcceptedError(safe, len(everything))
        raise failures[0]


class PartlyAcceptedError(ApiError):
    """503: some of the mails of a request are on the queue, the others may not be."""

    def __init__(self, safe: int, mails: int) -> None:
        super().__init__(
            503,
            f"{safe} of the {mails} mails are accepted, of the others it is not sure. Repeat the "
            "request with its Idempotency-Key: then none is sent twice.",
            code="partly_accepted",
            headers={"Retry-After": "5"},
        )


async def _claim(once: "Once", origin: RequestOrigin, requests: Idempotency) -> Claim:
    """Return the claim of this request on its key, or the answer that the key has had.

    Raises:
        ApiError: 400, it is no key; 409, it belongs to another request or is being worked on.
    """
    if not _KEY.fullmatch(once.key):
        raise bad_field("Idempotency-Key", "1 to 255 printable ASCII characters without spaces.")
    with within(patience.current().left(more_follows=True)):
        claim = await requests.begin(
            origin.account, once.key, once.fingerprint, stale_seconds=STALE_SECONDS
        )
    if claim.fingerprint != once.fingerprint:
        raise ApiError(
            409, "This Idempotency-Key was used with another request.",
            code="idempotency_mismatch", field="Idempotency-Key",
        )  # fmt: skip
    if not claim.ours and (claim.status is None or claim.answer is None):
        raise ApiError(
            409, "The request with this Idempotency-Key is still being worked on.",
            code="in_progress", field="Idempotency-Key", headers={"Retry-After": "2"},
        )  # fmt: skip
    return claim


async def _inject_claimed(
    mail: SendFields,
    origin: RequestOrigin,
    once: "Once",
    claim: Claim,
    acceptance: "Acceptance",
    *,
    files: RequestFiles | None,
) -> "AcceptedSubmission":
    """Inject the mail and keep the answer under its key.

    Message ids follow from the key: when a first try died between the queue and the answer, what
    the second try submits carries the same ids and is recognised downstream.
    """
    requests = acceptance.idempotency
    try:
        async with held(requests, origin.account, once.key):
            answer = await _inject(
                mail,
                origin,
                lambda part: derived_id(claim.created, "rest", origin.account, once.key, part),
                acceptance,
                files,
            )
    except (Transient, PartlyAcceptedError):
        with contextlib.suppress(Transient), within(LEAST_SECONDS):
            await requests.release(origin.account, once.key)
        raise
    except ApiError:
        with contextlib.suppress(Transient), within(LEAST_SECONDS):
            await requests.forget(origin.account, once.key)
        raise
    # It is accepted, whether the answer is kept or not.
    with contextlib.suppress(Transient), within(patience.current().left()):
        await requests.finish(origin.account, once.key, 200, json.dumps(answer))
    return AcceptedSubmission(answer)


@dataclass(frozen=True, slots=True)
class Once:
    """The `Idempotency-Key` of a request, and the digest of the body that it stands for."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, body: bytes) -> "Once":
        """Return the key with the fingerprint of `body`."""
        return cls(key, hashlib.sha256(body).hexdigest())


@dataclass(frozen=True, slots=True)
class AcceptedSubmission:
    """The answer: message ids, each with its recipient; `replayed` when it was given before."""

    answer: dict[str, Any]
    status: int = 200
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What accepting a mail needs; `clock` returns Unix seconds."""

    rules: SubmissionRules
    injector: Injector
    idempotency: Idempotency
    personaliser: Personaliser
    sending: SendingRules
    files: RemoteFiles
    clock: Callable[[], float]
