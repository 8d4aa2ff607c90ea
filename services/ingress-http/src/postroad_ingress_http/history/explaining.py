"""Why mail was refused, put off or returned: what each such event means, and what can be done.

Bounces and deferrals tell their class. A failure in conversation tells only what the server said:
it is classified here, by the rules that decided whether the address is suppressed.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping

from postroad_common.classification.classifier import built_in
from postroad_common.classification.explaining import Explanation, explain
from postroad_common.classification.rule import STAGES_OF_ATTEMPTS
from postroad_common.mail.classification import Classification
from postroad_common.mail.requeue import RequeueReason
from postroad_common.schemas.events import Bounced, Deferred, Event, Failed

_SUPPRESSED_BY = re.compile(r"(?:\d+ days with soft bounces, last: )?([a-z-]{3,20}): ")
_UNCLEAR = frozenset({Classification.UNDETERMINED, Classification.EXPIRED})


async def explain_all(events: Iterable[Event]) -> Mapping[str, Explanation]:
    """Return the explanations of those events that have one, by their ids."""
    faults = [event for event in events if isinstance(event, Failed | Deferred | Bounced)]
    # In a thread: reading the rules for the first time takes a quarter of a second.
    return await asyncio.to_thread(_explain_all, faults) if faults else {}


def meaning_of_suppression(reason: str) -> str:
    """Return what a suppression's reason means; nothing where it has no class at its front."""
    found = _SUPPRESSED_BY.match(reason)
    classification = _read(found[1]) if found else None
    return explain(classification).meaning if classification else ""


def _explain_all(events: Iterable[Event]) -> Mapping[str, Explanation]:
    found = {event.id: _explain(event) for event in events}
    return {name: explanation for name, explanation in found.items() if explanation}


def _explain(event: Event) -> Explanation | None:
    known: str | None = None
    match event:
        case Failed():
            said = event.data.reply
        case Deferred() if event.data.requeue in {None, "", RequeueReason.DEFERRED}:
            known, said = event.data.reason, event.data.reply
        case Bounced():
            known, said = event.data.bounce_class, event.data.diagnostic
        case _:
            return None
    enhanced = event.data.enhanced or ""
    classification = _read(known)
    if classification in _UNCLEAR or (classification is None and said):
        stage = "" if isinstance(event, Bounced) else STAGES_OF_ATTEMPTS.get(event.data.stage or "")
        verdict = built_in().classify(event.data.code or None, enhanced, said or "", stage or "")
        if classification is None or verdict.classification not in _UNCLEAR:
            classification = verdict.classification
    if classification is None:
        return None
    return explain(classification, enhanced, waits=isinstance(event, Deferred))


def _read(name: str | None) -> Classification | None:
    return Classification(name) if name in set(Classification) else None
