"""Records hits without making the reader wait: labels them and puts them into the spool.

The labels come from `bots` (one request) and `burst_detector` (several); `forwarder` takes it from
the spool to the broker.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from postroad_common.mail.identifiers import new_id
from postroad_common.tokens import LinkKind, LinkToken
from postroad_tracker import bots
from postroad_tracker.burst_detector import BURST, BURST_SECONDS, BurstDetector
from postroad_tracker.hits import MAX_REFERER, MAX_URL, MAX_USER_AGENT, Amendment, Hit, clip
from postroad_tracker.spool import Segment, Spool

_MAX_HELD = 10_000


class Recorder:
    """Writes hits to `spool`; `wake` is called when there is something to forward."""

    def __init__(
        self, spool: Spool, burst_detector: BurstDetector, wake: Callable[[], None]
    ) -> None:
        self._spool = spool
        self._burst_detector = burst_detector
        self._wake = wake
        # Clicks of the last second: where they are, should a burst show what they were.
        self._held: OrderedDict[str, tuple[float, Segment]] = OrderedDict()

    def asked(self, token: LinkToken, now: float) -> None:
        """Remember a HEAD request: no hit, but it labels a GET that follows."""
        if token.kind is LinkKind.CLICK:
            self._burst_detector.head(token.message_id, token.number, now)

    def record(
        self, token: LinkToken, headers: Mapping[bytes, bytes], address: str, now: float
    ) -> bool:
        """Keep a hit at `now` (Unix seconds); False when it could not be kept."""
        if not self._burst_detector.admit(token.message_id, now):
            return False
        user_agent = clip(headers.get(b"user-agent", b""), MAX_USER_AGENT)
        identifier = new_id(now)
        machine = ""
        if token.kind is not LinkKind.UNSUBSCRIBE:
            # One-click unsubscription is sent by the mail provider's servers on a person's wish.
            machine = bots.by_user_agent(user_agent) or bots.by_headers(headers)
        if token.kind is LinkKind.CLICK:
            verdict = self._burst_detector.click(token.message_id, token.number, identifier, now)
            machine = machine or verdict.machine
            for earlier in verdict.amend:
                self._amend(earlier)
        hit = Hit(
            id=identifier,
            kind=token.kind,
            message=token.message_id,
            number=token.number,
            time=round(now, 3),
            ip=address,
            url="" if token.kind is LinkKind.HOSTED else clip(token.target or b"", MAX_URL),
            user_agent=user_agent,
            referer=clip(headers.get(b"referer", b""), MAX_REFERER),
            machine=machine,
        )
        segment = self._spool.append(hit.to_line())
        if segment is None:
            return False
        if token.kind is LinkKind.CLICK and not machine:
            self._hold(identifier, segment, now)
        self._wake()
        return True

    def _hold(self, identifier: str, segment: Segment, now: float) -> None:
        segment.rest_until = time.monotonic() + BURST_SECONDS
        self._held[identifier] = (now, segment)
        while self._held:
            first = next(iter(self._held))
            since = self._held[first][0]
            if now - since <= BURST_SECONDS and len(self._held) <= _MAX_HELD:
                break
            del self._held[first]

    def _amend(self, identifier: str) -> None:
        held = self._held.pop(identifier, None)
        if held is not None:
            self._spool.amend(held[1], Amendment(identifier, BURST).to_line())
