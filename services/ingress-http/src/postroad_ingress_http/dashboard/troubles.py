"""What needs somebody's attention: of an account here, of the installation in `operator_troubles`.

Each source of trouble is asked by an index or for a bounded number of documents, all at once.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from postroad_common.classification.explaining import explain
from postroad_common.mail.address import domain_of
from postroad_common.mail.senders import is_at_or_below
from postroad_common.schemas.events import EventName
from postroad_common.store.events import Events
from postroad_common.store.messages import MessageRecord, Messages
from postroad_common.store.rollups import Counts, Rollups
from postroad_common.store.turns import Failing
from postroad_common.store.webhooks import Webhook
from postroad_ingress_http.domains.senderdomains import SenderDomains
from postroad_ingress_http.history.explaining import explain_all
from postroad_ingress_http.history.statistics import complaint_rate, total
from postroad_ingress_http.hooks.calls import WebhookCalls
from postroad_ingress_http.hooks.registry import WebhookRegistry

COMPLAINT_DAYS = 7
LOW_COMPLAINTS, HIGH_COMPLAINTS = 0.001, 0.003
"""Shares of delivered mail that Gmail and Yahoo want senders to stay below, and never to reach."""
FEWEST_COMPLAINTS = 2
"""One complaint among few messages says nothing."""
SENDERS = 200
UNTOUCHED_SECONDS = 600.0
DEFERRED_SECONDS = 4 * 3600.0
HIGH_FAILURES, GRAVE_FAILURES = 0.05, 0.1
"""Shares of failed mail from which on providers look at a sender, and from which on they act."""
FEWEST_FAILURES = 10
_SAMPLE = 100  # failures of which it is looked why
_UNTOUCHED = ("accepted", "transforming", "queued")
_ROOT = "/dashboard"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something to look at, on the page behind `link`; `since` and `until` are Unix seconds."""

    title: str
    text: str
    link: str
    help: str
    grave: bool = True
    since: float | None = None
    next_call: float | None = None


@dataclass(frozen=True, slots=True)
class AccountSources:
    """Where the troubles of an account are looked for."""

    hooks: WebhookRegistry
    calls: WebhookCalls
    domains: SenderDomains
    messages: Messages
    rollups: Rollups
    events: Events


async def of_account(account: str, sources: AccountSources, now: float) -> list[Trouble]:
    """Return the troubles of an account, grave ones first."""
    return await gathered(
        _of_webhooks(account, sources),
        _of_domains(account, sources),
        _of_reputation(account, sources, now),
        _of_waiting_mail(account, sources.messages, now),
    )


async def gathered(*groups: Awaitable[Sequence[Trouble]]) -> list[Trouble]:
    """Return the troubles of all groups, grave ones first."""
    found = [trouble for group in await asyncio.gather(*groups) for trouble in group]
    return sorted(found, key=lambda trouble: not trouble.grave)


async def _of_webhooks(account: str, sources: AccountSources) -> list[Trouble]:
    hooks = await sources.hooks.all(account)
    troubles = [
        Trouble(
            title="A webhook is disabled",
            text=f"{hook.url}: {hook.reason}. Start it again, and replay what it missed.",
            link=f"{_ROOT}/webhooks/{hook.id}",
            help="Its page",
        )
        for hook in await sources.hooks.given_up(account)
    ]
    failing = await sources.calls.failing([hook.id for hook in hooks if not hook.disabled])
    by_id = {hook.id: hook for hook in hooks}
    told = [_of_failing(by_id[name], state, sources) for name, state in failing.items()]
    return troubles + list(await asyncio.gather(*told))


async def _of_failing(hook: Webhook, state: Failing, sources: AccountSources) -> Trouble:
    last = await sources.calls.last_try(hook.id)
    answer = ""
    if last is not None:
        said = f"status {last.status}" if last.status else last.error
        answer = f" The last answer: {said}{f', “{last.answer[:100]}”' if last.answer else ''}."
    calls = "1 call has" if state.failures == 1 else f"{state.failures:,} calls in a row have"
    return Trouble(
        title="A webhook fails",
        text=f"{hook.url}: {calls} failed.{answer}",
        link=f"{_ROOT}/webhooks/{hook.id}",
        help="Its deliveries",
        grave=state.failures > 1,
        since=state.since,
        next_call=state.next_call,
    )


async def _of_domains(account: str, sources: AccountSources) -> list[Trouble]:
    domains = await sources.domains.all(account)
    troubles = []
    for domain in domains:
        gone = [
            item.record.key
            for item in sources.domains.records(domain)
            if item.record.needed and item.status in {"missing", "different"}
        ]
        if gone and domain.verified and not domain.trusted:
            troubles.append(
                Trouble(
                    title=f"DNS records of {domain.domain} are not as they should be",
                    text=f"Missing or different: {', '.join(gone)}.",
                    link=f"{_ROOT}/domains/{domain.domain}",
                    help="Its records",
                    since=domain.checked,
                )
            )
    proved = frozenset(domain.domain for domain in domains if domain.verified or domain.trusted)
    names = {domain.domain for domain in domains}
    senders = await sources.messages.senders(account, SENDERS)
    sending = Counter(name for sender in senders if (name := domain_of(sender)))
    troubles += [
        Trouble(
            title=f"{name} sends without being verified",
            text=f"{count} of the last {len(senders)} messages are from it. Without its records "
            "receivers cannot tell them from forgeries.",
            link=f"{_ROOT}/domains" + (f"/{quote(name, safe='')}" if name in names else ""),
            help="Verify it",
            grave=False,
        )
        for name, count in sending.most_common(3)
        if not is_at_or_below(name, proved)
    ]
    return troubles


async def _of_reputation(account: str, sources: AccountSources, now: float) -> list[Trouble]:
    today = datetime.fromtimestamp(now, UTC).date()
    first = today - timedelta(days=COMPLAINT_DAYS - 1)
    sums = total(await sources.rollups.read(account, str(first), str(today)))
    return _of_complaints(sums) + await _of_failures(account, sums, sources.events, now)


async def _of_failures(account: str, sums: Counts, events: Events, now: float) -> list[Trouble]:
    """Return that much mail fails, with the most frequent reason; simulated failures are none."""
    failed, ended = sums.get("failed", 0), sums.get("failed", 0) + sums.get("delivered", 0)
    if failed < FEWEST_FAILURES or failed < HIGH_FAILURES * ended:
        return []
    start = now - COMPLAINT_DAYS * 86_400
    found = await events.search(account, names=[EventName.FAILED], start=start, limit=_SAMPLE)
    real = [event for event in found if not event.facts.get("simulated")]
    if len(real) < FEWEST_FAILURES:
        return []
    explained = await explain_all(real)
    reasons = Counter(why.classification for why in explained.values()).most_common(1)
    text = f"{failed:,} of {ended:,} messages of {COMPLAINT_DAYS} days."
    for classification, count in reasons:
        why = explain(classification)
        text += f" Most often ({count} of the last {len(real)}): {why.meaning} {why.advice}"
    return [
        Trouble(
            title=f"{100 * failed / ended:.1f} % of the mail fails",
            text=text,
            link=f"{_ROOT}/bounces?event=failed",
            help="Which mail",
            grave=failed >= GRAVE_FAILURES * ended,
        )
    ]


def _of_complaints(sums: Counts) -> list[Trouble]:
    complained, delivered = (
        sums.get(name, 0) - sums.get(f"simulated_{name}", 0) for name in ("complained", "delivered")
    )
    share = complaint_rate(sums)
    if share < LOW_COMPLAINTS or complained < FEWEST_COMPLAINTS:
        return []
    grave = share >= HIGH_COMPLAINTS
    line = f"{100 * (HIGH_COMPLAINTS if grave else LOW_COMPLAINTS):.1f} %"
    wish = "and reject mail above it" if grave else "as the level to stay below"
    return [
        Trouble(
            title=f"Complaints are above {line}",
            text=f"{complained:,} complaints about {delivered:,} delivered messages in "
            f"{COMPLAINT_DAYS} days: {100 * share:.2f} %. Gmail and Yahoo name {line} {wish}.",
            link=f"{_ROOT}/messages?complained=true",
            help="Which messages",
            grave=grave,
        )
    ]


async def _of_waiting_mail(account: str, messages: Messages, now: float) -> list[Trouble]:
    untouched, deferred = await asyncio.gather(
        messages.oldest(account, _UNTOUCHED), messages.oldest(account, ("deferred",))
    )
    troubles = []
    if untouched and now - untouched.created > UNTOUCHED_SECONDS:
        text = "No delivery has been tried yet. A lane is slow or held back, or a service lags."
        troubles.append(_waits(untouched, "Accepted mail waits", text, grave=True))
    if deferred and now - deferred.created > DEFERRED_SECONDS:
        text = f"The oldest that its receiver puts off, after {deferred.attempts} attempts."
        troubles.append(_waits(deferred, "Mail has been deferred for hours", text, grave=False))
    return troubles


def _waits(message: MessageRecord, title: str, text: str, *, grave: bool) -> Trouble:
    return Trouble(
        title=title,
        text=f"{text} To {message.recipient}.",
        link=f"{_ROOT}/messages/{message.id}",
        help="Its timeline",
        grave=grave,
        since=message.created,
    )
