"""Where every delivery that does not end is counted and logged, with its reason."""

import structlog

from postroad_common.mail.requeue import RequeueReason
from postroad_common.metrics import REQUEUED

_log = structlog.get_logger("requeue")


def note_requeued(
    queue: str, reason: RequeueReason, messages: int = 1, *, text: str = "", seconds: float = 0.0
) -> None:
    """Count and log deliveries from `queue` that wait for another try.

    They come to the handler again after `seconds` here, or from the broker if that is 0. `text`
    says more about `reason`, for people.
    """
    if not isinstance(reason, RequeueReason):
        raise TypeError(f"not a reason of the list: {reason!r}")
    if not messages:
        return
    REQUEUED.labels(reason).inc(messages)
    facts = {"reason": text} if text else {}
    if seconds:
        facts["seconds"] = str(round(seconds, 2))
    log = _log.info if seconds or messages > 1 else _log.debug
    log("requeued", queue=queue, requeue=reason, messages=messages, **facts)
