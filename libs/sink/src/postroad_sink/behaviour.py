"""Decides at each stage of a session whether a rule applies, and what happens then.

Rules are asked in the order in which they were given. A rule that only slows down adds to those
before it; the first one with a reply or a drop ends the search. No I/O here; the clock and the
dice come in as arguments.
"""

import fnmatch
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from postroad_common.mail.reply import Reply
from postroad_sink.counts import Presence
from postroad_sink.extensions import Offer
from postroad_sink.rules import MAX_RULES, BehaviourRule, Drop, RuleStage, Scope

_MOST_KEYS = 100_000  # counters kept per rule; the least recently used is forgotten first


class Situation(Protocol):
    """What a session knows about itself when a rule is asked."""

    client: str
    server: str
    sender: str
    recipients: list[str]
    domains: set[str]

    @property
    def under_tls(self) -> bool:
        """Whether the connection is protected."""

    @property
    def authenticated(self) -> bool:
        """Whether the client has logged in."""


@dataclass(frozen=True, slots=True)
class BehaviourVerdict:
    """What happens instead of, or before, the usual answer. `delay` is in seconds."""

    reply: Reply | None
    drop: Drop | None
    delay: float


@dataclass(frozen=True, slots=True)
class ConnectionTraits:
    """What a connection is like: `latency` of every reply in seconds, and the extensions."""

    latency: float
    offer: Offer


class TooManyRulesError(ValueError):
    """More rules than can be looked through for every command."""


@dataclass(slots=True)
class ActiveRule:
    """A rule in force, with what it has counted so far."""

    number: int
    rule: BehaviourRule
    fired: int = 0
    _times: "OrderedDict[str, int]" = field(default_factory=OrderedDict)
    _tokens: "OrderedDict[str, tuple[float, float]]" = field(default_factory=OrderedDict)
    _recipient: re.Pattern[str] | None = None
    _sender: re.Pattern[str] | None = None
    _client: re.Pattern[str] | None = None
    _server: re.Pattern[str] | None = None
    reply: Reply | None = None

    def __post_init__(self) -> None:
        self._recipient = _compiled(self.rule.recipient)
        self._sender = _compiled(self.rule.sender)
        self._client = _compiled(self.rule.client)
        self._server = _compiled(self.rule.server)
        if text := self.rule.verdict_reply:
            self.reply = Reply(int(text[:3]), "", text[4:])

    def fires(
        self, situation: Situation, recipient: str, presence: Presence, now: float, dice: float
    ) -> bool:
        """Whether the rule applies; if so it is counted."""
        rule = self.rule
        if not self._matches(situation, recipient):
            return False
        key = self._key(situation, recipient)
        if rule.connections is not None:
            # At connect the session itself is not counted yet, later it is.
            itself = rule.stage is not RuleStage.CONNECT
            if presence.open(rule.per, key) - itself < rule.connections:
                return False
        if rule.probability is not None and dice >= rule.probability:
            return False
        if rule.rate is not None and self._takes_token(key, rule.rate, now):
            return False
        if rule.times is not None and not self._has_times_left(key, rule.times):
            return False
        self.fired += 1
        return True

    def _matches(self, situation: Situation, recipient: str) -> bool:
        rule = self.rule
        if self._recipient is not None:
            addresses: Sequence[str] = (recipient,) if recipient else situation.recipients
            if not any(self._recipient.match(address) for address in addresses):
                return False
        return (
            (self._sender is None or self._sender.match(situation.sender) is not None)
            and (self._client is None or self._client.match(situation.client) is not None)
            and (self._server is None or self._server.match(situation.server) is not None)
            and rule.tls in {None, situation.under_tls}
            and rule.authenticated in {None, situation.authenticated}
        )

    def _key(self, situation: Situation, recipient: str) -> str:
        match self.rule.per:
            case Scope.ALL:
                return ""
            case Scope.CLIENT:
                return situation.client
            case Scope.SERVER:
                return situation.server
            case Scope.SENDER:
                return situation.sender.lower()
            case Scope.DOMAIN:
                address = recipient or (situation.recipients or [""])[0]
                return address.rpartition("@")[2].lower()
            case Scope.RECIPIENT:
                return recipient.lower()

    def _takes_token(self, key: str, rate: float, now: float) -> bool:
        most = self.rule.burst or max(1.0, rate)
        tokens, since = self._tokens.pop(key, (most, now))
        tokens = min(most, tokens + (now - since) * rate)
        enough = tokens >= 1
        self._tokens[key] = (tokens - enough, now)
        _forget_oldest(self._tokens)
        return enough

    def _has_times_left(self, key: str, times: int) -> bool:
        used = self._times.pop(key, 0)
        self._times[key] = min(used + 1, times)
        _forget_oldest(self._times)
        return used < times


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    return None if pattern is None else re.compile(fnmatch.translate(pattern), re.IGNORECASE)


def _forget_oldest(
    counters: "OrderedDict[str, int] | OrderedDict[str, tuple[float, float]]",
) -> None:
    if len(counters) > _MOST_KEYS:
        counters.popitem(last=False)


class Behaviour:
    """The rules in force."""

    def __init__(self, presence: Presence, dice: Callable[[], float]) -> None:
        self._presence = presence
        self._dice = dice
        self._rules: dict[int, ActiveRule] = {}
        self._by_stage: dict[RuleStage, tuple[ActiveRule, ...]] = {}
        self._of_lines: tuple[ActiveRule, ...] = ()
        self._next = 1

    @property
    def rules(self) -> list[ActiveRule]:
        """All of them, in the order in which they are asked."""
        return list(self._rules.values())

    def add(self, rules: Iterable[BehaviourRule]) -> list[ActiveRule]:
        """Put rules behind those in force and return them with their numbers.

        Raises:
            TooManyRulesError: and none was added.
        """
        new = list(rules)
        if len(self._rules) + len(new) > MAX_RULES:
            raise TooManyRulesError(f"no more than {MAX_RULES} rules can be in force")
        active = [ActiveRule(self._next + offset, rule) for offset, rule in enumerate(new)]
        self._next += len(new)
        self._rules.update({rule.number: rule for rule in active})
        self._sort()
        return active

    def remove(self, number: int) -> bool:
        """Take one rule out of force; False if there is none of that number."""
        found = self._rules.pop(number, None) is not None
        self._sort()
        return found

    def clear(self) -> int:
        """Take all rules out of force; their number."""
        count = len(self._rules)
        self._rules.clear()
        self._sort()
        return count

    def _sort(self) -> None:
        active = self._rules.values()
        self._of_lines = tuple(rule for rule in active if rule.rule.shapes_line)
        self._by_stage = {
            stage: rules
            for stage in RuleStage
            if (
                rules := tuple(
                    rule
                    for rule in active
                    if rule.rule.stage is stage and not rule.rule.shapes_line
                )
            )
        }

    def judge(
        self, stage: RuleStage, situation: Situation, now: float, recipient: str = ""
    ) -> BehaviourVerdict | None:
        """Return what happens at this stage, None for the usual; `now` is a monotonic clock."""
        rules = self._by_stage.get(stage)
        if rules is None:
            return None
        delay = 0.0
        for active in rules:
            if not active.fires(situation, recipient, self._presence, now, self._dice()):
                continue
            delay += active.rule.delay
            if active.reply is not None or active.rule.drop is not None:
                return BehaviourVerdict(active.reply, active.rule.drop, delay)
        return BehaviourVerdict(None, None, delay) if delay else None

    def line(self, situation: Situation, offer: Offer, now: float) -> ConnectionTraits:
        """Return what a new connection is like, beginning with the usual `offer`."""
        latency = 0.0
        for active in self._of_lines:
            if active.fires(situation, "", self._presence, now, self._dice()):
                latency += active.rule.latency
                offer = offer.changed(active.rule.extensions or {})
        return ConnectionTraits(latency, offer)
