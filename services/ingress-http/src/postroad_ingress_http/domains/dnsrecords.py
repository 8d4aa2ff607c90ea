"""The DNS records a sender domain should publish, and what is right or wrong with those it has.

Pure: the questions are asked by `dnscheck`.
"""

import contextlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from postroad_common.store.domains import RETURN_PATH, DkimKey, SenderDomain
from postroad_ingress_http.domains.dnscheck import Question, RecordType

Status = Literal["ok", "missing", "different", "unknown"]
MX_PRIORITY = 10
TRACKING = "tracking"


@dataclass(frozen=True, slots=True)
class DnsRules:
    """Names of this installation. `senders` are the SPF mechanisms of where it sends from.

    `tracking_host` may be an address, where the tracker has no name (yet).
    """

    hostname: str
    bounce_domain: str = "bounce.localhost"
    tracking_host: str = "localhost"
    senders: str = ""


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record to publish. `key` is its short name in the results of a check.

    `host` is the name below the zone, `@` for the zone itself. `needed`: mail is worse off without.
    """

    key: str
    purpose: str
    type: RecordType
    name: str
    value: str
    host: str
    needed: bool = True
    priority: int | None = None

    @property
    def question(self) -> Question:
        """Return the question that this record answers."""
        return Question(self.name, self.type)


def recommended(domain: SenderDomain, rules: DnsRules) -> list[DnsRecord]:
    """Return the records that `domain` should have, those of replaced keys last."""
    zone = domain.domain
    keys = sorted(domain.keys, key=lambda key: key.state == "retired")
    return [
        _record(
            zone, "ownership", "Shows that the domain is yours", "TXT", f"_postroad.{zone}",
            f"postroad-verification={domain.verification}",
        ),
        _record(
            zone, "spf", "Lets this service send for the domain (SPF)", "TXT", zone,
            f"v=spf1 include:{spf_host(rules)} a mx ~all",
        ),
        *(_of_key(zone, key) for key in keys if key.state != "retired"),
        _record(
            zone, "dmarc", "Says what receivers do with forgeries (DMARC)", "TXT",
            f"_dmarc.{zone}", f"v=DMARC1; p=none; rua=mailto:{reports_address(domain)}",
        ),
        *_return_path(domain, rules),
        *_tracking(domain, rules),
        *(_of_key(zone, key) for key in keys if key.state == "retired"),
    ]  # fmt: skip


def service_records(rules: DnsRules) -> list[DnsRecord]:
    """Return the records that the operator publishes for the whole installation."""
    zone = rules.hostname
    senders = rules.senders or f"a:{rules.hostname}"
    return [
        _record(
            zone, "spf", "Names where this service sends from; every domain includes it", "TXT",
            spf_host(rules), f"v=spf1 {senders} -all",
        ),
        _record(
            zone, RETURN_PATH, "Brings returned mail to the MX listener", "MX",
            rules.bounce_domain, rules.hostname, priority=MX_PRIORITY,
        ),
        _record(
            zone, "return-path spf", "Lets this service send from its bounce addresses", "TXT",
            rules.bounce_domain, f"v=spf1 include:{spf_host(rules)} -all",
        ),
    ]  # fmt: skip


def reports_address(domain: SenderDomain) -> str:
    """Return the address that DMARC reports of the domain go to."""
    return domain.dmarc_reports or f"postmaster@{domain.domain}"


def spf_host(rules: DnsRules) -> str:
    """Return the host whose SPF record lists the addresses this installation sends from."""
    return f"_senderspf.{rules.hostname}"


def dkim_value(key: DkimKey) -> str:
    """Return the key record (RFC 6376 section 3.6.1)."""
    return f"v=DKIM1; k={key.algorithm}; p={key.public}"


def _of_key(zone: str, key: DkimKey) -> DnsRecord:
    purpose = {
        "pending": f"Verifies signatures (DKIM, {key.algorithm}); signing begins once it is seen",
        "active": f"Verifies signatures (DKIM, {key.algorithm})",
        "retired": f"Verifies mail signed before the key was replaced (DKIM, {key.algorithm})",
    }[key.state]
    return _record(
        zone, f"dkim {key.selector}", purpose, "TXT", f"{key.selector}._domainkey.{zone}",
        dkim_value(key), needed=key.state != "retired",
    )  # fmt: skip


def _return_path(domain: SenderDomain, rules: DnsRules) -> list[DnsRecord]:
    host = domain.return_path
    return [
        _record(
            domain.domain, RETURN_PATH, "Brings returned mail to this service", "MX", host,
            rules.hostname, priority=MX_PRIORITY,
        ),
        _record(
            domain.domain, "return-path spf", "Lets this service send from the bounce host (SPF)",
            "TXT", host, f"v=spf1 include:{spf_host(rules)} -all",
        ),
    ]  # fmt: skip


def _tracking(domain: SenderDomain, rules: DnsRules) -> list[DnsRecord]:
    if not _is_public_name(rules.tracking_host):
        return []
    return [
        _record(
            domain.domain, TRACKING, "Lets tracked links and images show your domain", "CNAME",
            domain.tracking_host or f"clicks.{domain.domain}", rules.tracking_host, needed=False,
        ),
    ]  # fmt: skip


def _is_public_name(host: str) -> bool:
    """Tell whether others can find a host by its name: it is no address, and not localhost."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return False
    return host.rpartition(".")[2] != "localhost"


def _record(  # noqa: PLR0917 - a row of a table
    zone: str,
    key: str,
    purpose: str,
    kind: RecordType,
    name: str,
    value: str,
    *,
    needed: bool = True,
    priority: int | None = None,
) -> DnsRecord:
    below = name.removesuffix(f".{zone}")
    host = "@" if name == zone else below if below != name else f"{name}."
    return DnsRecord(key, purpose, kind, name, value, host, needed, priority)


def judge(record: DnsRecord, found: Sequence[str] | None, rules: DnsRules) -> Status:
    """Judge what was `found` at the name of `record`; None: DNS did not answer."""
    if found is None:
        return "unknown"
    if record.type != "TXT":
        wanted = record.value.lower()
        return "ok" if wanted in found else "different" if found else "missing"
    if record.key in {"spf", "return-path spf"}:
        return _judge_spf(found, rules) if record.name != spf_host(rules) else _judge_senders(found)
    if record.key == "dmarc":
        good = any(text.replace(" ", "").lower().startswith("v=dmarc1;") for text in found)
        return "ok" if good else "missing"
    if not found:
        return "missing"
    wanted_text = _squeeze(record.value)
    return "ok" if any(_squeeze(text) == wanted_text for text in found) else "different"


def _policies(found: Sequence[str]) -> list[str]:
    return [text for text in found if text.lower().split(" ")[0] == "v=spf1"]


def _judge_spf(found: Sequence[str], rules: DnsRules) -> Status:
    policies = _policies(found)
    if not policies:
        return "missing"
    wanted = {f"include:{spf_host(rules)}", f"+include:{spf_host(rules)}"}
    # Two policies are a permanent error (RFC 7208 section 4.5).
    good = len(policies) == 1 and bool(wanted & set(policies[0].lower().split()))
    return "ok" if good else "different"


def _judge_senders(found: Sequence[str]) -> Status:
    """Judge the service's own record, which the operator knows better than we do."""
    policies = _policies(found)
    return "missing" if not policies else "ok" if len(policies) == 1 else "different"


def _squeeze(text: str) -> str:
    return "".join(text.split()).rstrip(";")


def is_verified(checks: dict[str, str]) -> bool:
    """Whether the checks prove that the domain is in the account's hands."""
    dkim = [status for key, status in checks.items() if key.startswith("dkim ")]
    return checks.get("ownership") == "ok" or (bool(dkim) and all(s == "ok" for s in dkim))
