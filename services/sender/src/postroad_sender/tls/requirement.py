"""What mail for a domain requires of TLS, and whether a session is good enough for it.

A lane carries mail for many domains whose hosts are the same. So it is neither the lane nor its
connections that have a policy but each message: its `TlsRequirement`. A session tells what it has
proved (`postroad_smtp.client.evidence`), and carries the messages whose requirement that meets.
`dialer` opens sessions so that they meet a requirement.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from postroad_common.mail.reply import Reply
from postroad_sender import metrics
from postroad_sender.routes.routes import Route
from postroad_sender.tls.mta_sts import Mode, MtaStsPolicy
from postroad_smtp.client.evidence import DaneState
from postroad_smtp.client.session import NOT_OFFERED, ClientSession, TlsWish
from postroad_smtp.client.stage import Fault, Stage, WireError

Facts = Mapping[str, Any]
"""The policy's part in the facts of an attempt: kind, mode, result, detail."""

_NO_POLICY: Facts = {"kind": "none"}
_MOST_DETAIL = 200  # characters
_WAIVER = re.compile(rb"^tls-required:[ \t]*no[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class RequirementKind(StrEnum):
    """Who asks for something."""

    ROUTE = "route"
    DANE = "dane"
    MTA_STS = "mta-sts"
    REQUIRETLS = "requiretls"


@dataclass(frozen=True, slots=True)
class TlsRequirement:
    """What a message needs.

    `wish` and `verify` come from the route, and `named` says that the route names the host. `dane`
    is the domain whose MX answer DNSSEC vouches for, so that the TLSA records of its hosts count;
    else empty. `sts` is its MTA-STS policy. With `requiretls` the message was handed in with
    REQUIRETLS (RFC 8689); `doubt` says that a policy of the domain could not be looked up. `waived`
    is the policy that failed and that the message asks not to mind.
    """

    wish: TlsWish = TlsWish.OPPORTUNISTIC
    verify: bool = False
    named: bool = False
    dane: str = ""
    sts: MtaStsPolicy | None = None
    requiretls: bool = False
    doubt: bool = False
    waived: str = ""

    @classmethod
    def of_route(cls, route: Route) -> "TlsRequirement":
        """Return what the operator's route asks for; nothing else holds where it names the host."""
        wish = route.tls
        if wish is TlsWish.OPPORTUNISTIC and route.username is not None:
            wish = TlsWish.REQUIRED  # a password is not sent in clear
        found = cls(wish=wish, verify=route.checks_certificate, named=route.host is not None)
        return NOTHING if found == NOTHING else found

    def of_domain(self, dane: str, sts: MtaStsPolicy | None, *, doubt: bool) -> "TlsRequirement":
        """Return the same with what the domain itself asks."""
        if not dane and sts is None and not doubt:
            return self
        return replace(self, dane=dane, sts=sts, doubt=doubt)

    @property
    def binds(self) -> bool:
        """Whether there are sessions that do not meet it."""
        return (
            self.wish is TlsWish.REQUIRED
            or self.verify
            or self.dane != ""
            or self.sts is not None
            or self.requiretls
        )

    @property
    def enforces(self) -> bool:
        """Whether the domain's MTA-STS policy is in force."""
        return self.sts is not None and self.sts.mode is Mode.ENFORCE

    @property
    def needs_certificate(self) -> bool:
        """Whether the certificate must be good for the host's name, where DANE says nothing."""
        return self.verify or self.enforces or self.requiretls

    def objection(self, host: str) -> str:
        """Why mail may not go to `host`, whatever it presents; empty if it may.

        This is only about MTA-STS; DANE, which goes before it, is asked first.
        """
        if self.enforces and self.sts is not None and not self.sts.covers(host):
            return f"{host} is not in the MTA-STS policy"
        return ""

    def knows(self, host: str) -> bool:
        """Whether it is proved that `host` is the domain's (RFC 8689 section 4.2.1)."""
        return self.named or self.dane != "" or (self.sts is not None and self.sts.covers(host))

    def lack(self, session: ClientSession) -> tuple[RequirementKind, str] | None:
        """Return what `session` lacks to carry such a message, and who asks for it, or None."""
        evidence = session.evidence
        if self.wish is TlsWish.REQUIRED and session.tls is None:
            return RequirementKind.ROUTE, NOT_OFFERED
        if self.verify and not evidence.pkix:
            return RequirementKind.ROUTE, "the certificate is not good"
        matched = False
        if self.dane:
            if evidence.dane is None:
                return RequirementKind.DANE, "TLSA records were not looked up"
            if evidence.dane is not DaneState.ABSENT and session.tls is None:
                return RequirementKind.DANE, NOT_OFFERED
            matched = self._is_matched(session)
            if evidence.dane is DaneState.MATCHED and not matched:
                return RequirementKind.DANE, "the certificate is for another domain"
        if self.sts is not None and not matched:
            if evidence.pkix is None:
                return RequirementKind.MTA_STS, "the certificate was not checked"
            if self.enforces and (self.objection(session.host) or not evidence.pkix):
                text = self.objection(session.host) or "the certificate is not good"
                return RequirementKind.MTA_STS, text
        if self.requiretls:
            return self._lack_of_requiretls(session, matched=matched)
        return None

    def _lack_of_requiretls(
        self, session: ClientSession, *, matched: bool
    ) -> tuple[RequirementKind, str] | None:
        host = session.host
        if not session.capabilities.requiretls:
            return RequirementKind.REQUIRETLS, f"{host} does not support REQUIRETLS"
        if not matched and not session.evidence.pkix:
            return RequirementKind.REQUIRETLS, f"the certificate of {host} is not good"
        if not self.knows(host):
            return (
                RequirementKind.REQUIRETLS,
                f"{host} is vouched for by neither DNSSEC nor MTA-STS",
            )
        return None

    def is_met_by(self, session: ClientSession) -> bool:
        """Whether `session` may carry such a message."""
        return not self.binds or self.lack(session) is None

    def strictest(self, dane: DaneState | None) -> RequirementKind:
        """Who asks for TLS at a host with these TLSA records."""
        if self.dane and dane in {DaneState.MATCHED, DaneState.UNUSABLE}:
            return RequirementKind.DANE
        if self.enforces:
            return RequirementKind.MTA_STS
        return RequirementKind.REQUIRETLS if self.requiretls else RequirementKind.ROUTE

    def concerns_only_itself(self, policy: Facts | None) -> bool:
        """Whether a failure with these facts of a policy says nothing about the site."""
        return policy is not None and not (self.named and policy["kind"] == RequirementKind.ROUTE)

    @property
    def can_be_waived(self) -> bool:
        """Whether the message itself may say that it need not be (RFC 8689 section 5)."""
        return not self.requiretls and (self.dane != "" or self.sts is not None)

    def waived_for(self, kind: str) -> "TlsRequirement":
        """Return what is left where the message waives the policy of this kind, which failed."""
        return replace(self, dane="", sts=None, waived=kind)

    def _is_matched(self, session: ClientSession) -> bool:
        evidence = session.evidence
        return evidence.dane is DaneState.MATCHED and evidence.name in {
            "",
            session.host.rstrip("."),
            self.dane,
        }

    def verdict(self, session: ClientSession) -> Facts:
        """Return what an attempt over `session`, which meets the requirement, tells of policies."""
        evidence = session.evidence
        if self.dane and evidence.dane is DaneState.MATCHED:
            facts = _facts(RequirementKind.DANE, "enforce", "ok", f"TLSA {evidence.detail}")
        elif self.sts is not None:
            facts = self._sts_verdict(session, self.sts)
        elif self.dane and evidence.dane is DaneState.UNUSABLE:
            facts = _facts(RequirementKind.DANE, "encrypt", "ok", "no usable TLSA record")
        elif self.waived:
            facts = _facts(self.waived, "enforce", "waived", "TLS-Required: No")
        elif self.verify or self.wish is not TlsWish.OPPORTUNISTIC:
            facts = _facts(
                RequirementKind.ROUTE, "verify" if self.verify else self.wish.value, "ok"
            )
        else:
            facts = _NO_POLICY
        return {**facts, "requiretls": True} if self.requiretls else facts

    def _sts_verdict(self, session: ClientSession, policy: MtaStsPolicy) -> Facts:
        if policy.mode is Mode.ENFORCE:
            return _facts(RequirementKind.MTA_STS, "enforce", "ok")
        if not policy.covers(session.host):
            fault = f"{session.host} is not in the policy"
        elif session.evidence.pkix:
            return _facts(RequirementKind.MTA_STS, policy.mode.value, "ok")
        else:
            fault = session.evidence.detail or "no valid certificate"
        return _facts(RequirementKind.MTA_STS, policy.mode.value, "would-fail", fault)

    def refusal(self, kind: RequirementKind, detail: str, *, definite: bool = False) -> WireError:
        """Return the error of a host that does not do what `kind` asks, with the facts.

        It is tried again, unless it is `definite` that there is no REQUIRETLS.
        """
        mode = "enforce"
        error = WireError(Stage.STARTTLS, Fault.TLS, f"{_TITLES[kind]}{detail}")
        if kind is RequirementKind.ROUTE:
            mode = "verify" if self.verify else self.wish.value
        elif kind is RequirementKind.REQUIRETLS and definite:
            reply = Reply(550, "5.7.30", f"REQUIRETLS support required: {detail}"[:400])
            error = WireError(Stage.ROUTE, reply, detail)
        error.policy = _facts(kind, mode, "failed", detail)
        return error


_TITLES = {
    RequirementKind.ROUTE: "",
    RequirementKind.DANE: "DANE: ",
    RequirementKind.MTA_STS: "MTA-STS: ",
    RequirementKind.REQUIRETLS: "REQUIRETLS: ",
}

NOTHING = TlsRequirement()
"""TLS if it is to be had."""


@lru_cache(maxsize=4096)
def with_requiretls(requirement: TlsRequirement) -> TlsRequirement:
    """Return `requirement` for a message that was submitted with REQUIRETLS."""
    return replace(requirement, requiretls=True)


def note(session: ClientSession, requirement: TlsRequirement) -> None:
    """Put the verdict on `requirement` into `session`; it is made and counted once for both."""
    if session.judged is requirement:
        return
    found = session.verdicts.get(requirement)
    if found is None:
        found = session.verdicts[requirement] = requirement.verdict(session)
        metrics.TLS_POLICIES.labels(found["kind"], found.get("result", "ok")).inc()
    session.judged, session.policy = requirement, found


def is_waived(message: bytes | memoryview) -> bool:
    """Whether a message, or the header of one, has `TLS-Required: No` (RFC 8689 section 5)."""
    head, _, _ = bytes(message).partition(b"\r\n\r\n")
    return _WAIVER.search(head) is not None


def _facts(kind: str, mode: str, result: str, detail: str = "") -> Facts:
    facts = {"kind": str(kind), "mode": mode, "result": result}
    if detail:
        facts["detail"] = detail[:_MOST_DETAIL]
    return facts
