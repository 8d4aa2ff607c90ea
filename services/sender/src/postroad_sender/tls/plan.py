"""How to talk TLS to one host: what its TLSA records say, the ways to try, and what came of it.

`tls_policy` says what mail demands; `dialer` does what is planned here.
"""

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from postroad_sender.dns.addresses import is_literal
from postroad_sender.tls.dane import DaneError, TlsaRecord, match, presented_chain, usable
from postroad_sender.tls.records import PolicyRecords
from postroad_sender.tls.requirement import Demand, Kind
from postroad_smtp.client.proof import UNCHECKED, DaneState, Proof
from postroad_smtp.client.session import Check, Session, TlsWish
from postroad_smtp.client.stage import WireError


class Terms(NamedTuple):
    """What holds at a host. `dane`: what its TLSA records came to, MATCHED if they have to match.

    `names` are those that a DANE-TA certificate may be for.
    """

    host: str
    dane: DaneState | None = None
    records: tuple[TlsaRecord, ...] = ()
    names: tuple[str, ...] = ()


class Plan(NamedTuple):
    """One way to talk: with `strict` the certificate must be good for the host's name."""

    wish: TlsWish
    strict: bool = False


async def terms_of(
    host: str, port: int, demand: Demand, records: PolicyRecords | None, *, thorough: bool
) -> Terms:
    """What holds at `host`.

    Raises:
        WireError: the demand forbids it, whatever it presents.
    """
    terms = Terms(host)
    wanted = demand.dane != "" or (thorough and not demand.named)
    if wanted and records is not None and records.has_dnssec and not is_literal(host):
        try:
            name, found = await records.tlsa(host, port)
        except WireError as error:
            if demand.dane:
                raise demand.refusal(Kind.DANE, error.detail) from error
        else:
            good = usable(found)
            state = DaneState.UNUSABLE if found else DaneState.ABSENT
            names = tuple(dict.fromkeys(filter(None, (name, host, demand.dane))))
            terms = Terms(host, DaneState.MATCHED if good else state, good, names)
    if not demand.dane or terms.dane is not DaneState.MATCHED:
        objection = demand.objection(host)
        if objection:
            raise demand.refusal(Kind.MTA_STS, objection)
    if demand.requiretls and not demand.knows(host):
        text = f"{host} is vouched for by neither DNSSEC nor MTA-STS"
        raise demand.refusal(Kind.REQUIRETLS, text, definite=not demand.doubt)
    return terms


def plans(
    terms: Terms, demand: Demand, *, thorough: bool, unproven: bool, plain: bool
) -> list[Plan]:
    """The ways to talk to a host, the best first; the last must do.

    `unproven` and `plain` say what failed there lately: the certificate, or TLS as a whole.
    """
    wish = demand.wish
    dane = terms.dane if demand.dane else None
    if demand.verify or (demand.needs_certificate and dane is not DaneState.MATCHED):
        return [Plan(TlsWish.REQUIRED, strict=True)]
    if dane in {DaneState.MATCHED, DaneState.UNUSABLE}:
        wish = TlsWish.REQUIRED
    if wish is TlsWish.NONE or (plain and wish is TlsWish.OPPORTUNISTIC):
        return [Plan(TlsWish.NONE)]
    found = [Plan(wish)]
    if (thorough or demand.sts is not None) and not unproven:
        found.insert(0, Plan(wish, strict=True))
    if wish is TlsWish.OPPORTUNISTIC:
        found.append(Plan(TlsWish.NONE))
    return found


def check_for(terms: Terms, demand: Demand) -> Check | None:
    """What looks at the certificate with DANE's eyes, where there is something to see."""
    if terms.dane is not DaneState.MATCHED:
        return None

    def check(connection: ssl.SSLObject) -> Proof:
        try:
            chain = presented_chain(connection)
            found = match(terms.records, chain, terms.names, datetime.now(UTC))
        except DaneError as error:
            if demand.dane:
                raise demand.refusal(Kind.DANE, str(error)) from error
            return UNCHECKED
        # a certificate for the domain's name instead of the host's says nothing to other domains
        name = found.name if found.name == demand.dane else ""
        return Proof(dane=DaneState.MATCHED, name=name, detail=str(found.record))

    return check


def completed(session: Session, terms: Terms, trouble: str) -> Proof:
    """What `session` proves, and what is known to be lacking; `trouble` says why, if anything."""
    proof = session.proof
    if proof.dane is None and terms.dane is not DaneState.MATCHED:
        proof = replace(proof, dane=terms.dane)
    if proof.pkix is None:
        trouble = trouble or ("TLS is not offered" if session.tls is None else "")
        if trouble:
            proof = replace(proof, pkix=False, detail=proof.detail or trouble)
    return proof
