"""How to talk TLS to one host: what its TLSA records say, the ways to try, and what came of it.

`requirement` says what mail requires; `dialer` does what is planned here.
"""

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from postroad_sender.dns.addresses import is_literal
from postroad_sender.tls.dane import DaneError, TlsaRecord, match, presented_chain, usable
from postroad_sender.tls.records import PolicyLookups
from postroad_sender.tls.requirement import RequirementKind, TlsRequirement
from postroad_smtp.client.evidence import UNCHECKED, DaneState, TlsEvidence
from postroad_smtp.client.session import Check, ClientSession, TlsWish
from postroad_smtp.client.stage import WireError


class HostTlsa(NamedTuple):
    """What holds at a host. `dane`: what its TLSA records came to, MATCHED if they have to match.

    `names` are those that a DANE-TA certificate may be for.
    """

    host: str
    dane: DaneState | None = None
    records: tuple[TlsaRecord, ...] = ()
    names: tuple[str, ...] = ()


class TlsPlan(NamedTuple):
    """One way to talk: with `strict` the certificate must be good for the host's name."""

    wish: TlsWish
    strict: bool = False


async def host_tlsa_of(
    host: str,
    port: int,
    requirement: TlsRequirement,
    records: PolicyLookups | None,
    *,
    thorough: bool,
) -> HostTlsa:
    """Return what holds at `host`.

    Raises:
        WireError: the requirement forbids it, whatever it presents.
    """
    host_tlsa = HostTlsa(host)
    wanted = requirement.dane != "" or (thorough and not requirement.named)
    if wanted and records is not None and records.has_dnssec and not is_literal(host):
        try:
            name, found = await records.tlsa(host, port)
        except WireError as error:
            if requirement.dane:
                raise requirement.refusal(RequirementKind.DANE, error.detail) from error
        else:
            good = usable(found)
            state = DaneState.UNUSABLE if found else DaneState.ABSENT
            names = tuple(dict.fromkeys(filter(None, (name, host, requirement.dane))))
            host_tlsa = HostTlsa(host, DaneState.MATCHED if good else state, good, names)
    if not requirement.dane or host_tlsa.dane is not DaneState.MATCHED:
        objection = requirement.objection(host)
        if objection:
            raise requirement.refusal(RequirementKind.MTA_STS, objection)
    if requirement.requiretls and not requirement.knows(host):
        text = f"{host} is vouched for by neither DNSSEC nor MTA-STS"
        raise requirement.refusal(RequirementKind.REQUIRETLS, text, definite=not requirement.doubt)
    return host_tlsa


def plans(
    host_tlsa: HostTlsa, requirement: TlsRequirement, *, thorough: bool, unproven: bool, plain: bool
) -> list[TlsPlan]:
    """Return the ways to talk to a host, the best first; the last must do.

    `unproven` and `plain` say what failed there lately: the certificate, or TLS as a whole.
    """
    wish = requirement.wish
    dane = host_tlsa.dane if requirement.dane else None
    if requirement.verify or (requirement.needs_certificate and dane is not DaneState.MATCHED):
        return [TlsPlan(TlsWish.REQUIRED, strict=True)]
    if dane in {DaneState.MATCHED, DaneState.UNUSABLE}:
        wish = TlsWish.REQUIRED
    if wish is TlsWish.NONE or (plain and wish is TlsWish.OPPORTUNISTIC):
        return [TlsPlan(TlsWish.NONE)]
    found = [TlsPlan(wish)]
    if (thorough or requirement.sts is not None) and not unproven:
        found.insert(0, TlsPlan(wish, strict=True))
    if wish is TlsWish.OPPORTUNISTIC:
        found.append(TlsPlan(TlsWish.NONE))
    return found


def check_for(host_tlsa: HostTlsa, requirement: TlsRequirement) -> Check | None:
    """Return what looks at the certificate with DANE's eyes, where there is something to see."""
    if host_tlsa.dane is not DaneState.MATCHED:
        return None

    def check(connection: ssl.SSLObject) -> TlsEvidence:
        try:
            chain = presented_chain(connection)
            found = match(host_tlsa.records, chain, host_tlsa.names, datetime.now(UTC))
        except DaneError as error:
            if requirement.dane:
                raise requirement.refusal(RequirementKind.DANE, str(error)) from error
            return UNCHECKED
        # a certificate for the domain's name instead of the host's says nothing to other domains
        name = found.name if found.name == requirement.dane else ""
        return TlsEvidence(dane=DaneState.MATCHED, name=name, detail=str(found.record))

    return check


def completed(session: ClientSession, host_tlsa: HostTlsa, fault: str) -> TlsEvidence:
    """Return what `session` proves and what it lacks; `fault` says why, if it lacks any."""
    evidence = session.evidence
    if evidence.dane is None and host_tlsa.dane is not DaneState.MATCHED:
        evidence = replace(evidence, dane=host_tlsa.dane)
    if evidence.pkix is None:
        fault = fault or ("TLS is not offered" if session.tls is None else "")
        if fault:
            evidence = replace(evidence, pkix=False, detail=evidence.detail or fault)
    return evidence
