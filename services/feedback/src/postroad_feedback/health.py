"""What the calls of a turn say about an end point: whether it rests, or is given up."""

from postroad_feedback import backoff, metrics
from postroad_feedback.calls import CallResult

_GONE = 410


class EndPointHealth:
    """Failures in a row, with what came of them in earlier turns; `hold` is until when it rests."""

    def __init__(self, failures: int, failing_since: float | None) -> None:
        self.failures = failures
        self.failing_since = failing_since
        self.hold = 0.0
        self.verdict = ""
        self._gone = False

    def take(self, answer: CallResult, now: float, *, too_large: bool = False) -> None:
        """Learn from one answer; a call that was `too_large` does not make the end point rest."""
        metrics.CALL_SECONDS.observe(answer.seconds)
        if answer.succeeded:
            metrics.CALLS.labels("delivered").inc()
            self.failures, self.failing_since, self.hold = 0, None, 0.0
            return
        metrics.CALLS.labels("failed" if answer.status is None else "refused").inc()
        self.failures += not too_large
        self.failing_since = self.failing_since or now
        rest = 0.0 if too_large else backoff.rest(self.failures)
        self.hold = max(self.hold, now + max(rest, answer.retry_after or 0.0))
        if self.hold <= now:
            self.hold = 0.0
        what = answer.error or f"status {answer.status}"
        if answer.status == _GONE:
            self._gone = True
            self.verdict = "the end point answered 410 Gone"
        else:
            self.verdict = f"no call has succeeded for three days; the last one: {what}"

    def is_hopeless(self, now: float) -> bool:
        """Whether there is no point in calling again."""
        if self._gone:
            return True
        since = self.failing_since
        return since is not None and now - since >= backoff.GIVE_UP_SECONDS
