"""The DNS records a sender domain should publish, and what is right or wrong with those it has.

Pure: the questions are asked by `dnscheck`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from postroad_common.store.domains import DkimKey, SenderDomain

Status = Literal["ok", "missing", "different", "unknown"]


@dataclass(frozen=True, slots=True)
class DnsRules:
    """Names of this installation: the SPF record to include is below `hostname`."""

    hostname: str


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record to publish. `key` is its short name in the results of a check."""

    key: str
    purpose: str
    type: Literal["TXT"]
    name: str
    value: str


def recommended(domain: SenderDomain, rules: DnsRules) -> list[DnsRecord]:
    """Return the records that `domain` should have."""
    name = domain.domain
    records = [
        DnsRecord(
            "ownership", "Shows that the domain is yours", "TXT", f"_postroad.{name}",
            f"postroad-verification={domain.verification}",
        ),
        DnsRecord(
            "spf", "Lets this service send for the domain (SPF)", "TXT", name,
            f"v=spf1 include:{spf_host(rules)} a mx ~all",
        ),
    ]  # fmt: skip
    records.extend(
        DnsRecord(
            f"dkim {key.selector}", f"Verifies signatures (DKIM, {key.algorithm})", "TXT",
            f"{key.selector}._domainkey.{name}", dkim_value(key),
        )
        for key in domain.keys
    )  # fmt: skip
    records.append(
        DnsRecord(
            "dmarc", "Says what receivers do with forgeries (DMARC)", "TXT", f"_dmarc.{name}",
            "v=DMARC1; p=none",
        )
    )  # fmt: skip
    return records


def spf_host(rules: DnsRules) -> str:
    """Return the host whose SPF record lists the addresses this installation sends from."""
    return f"_senderspf.{rules.hostname}"


def dkim_value(key: DkimKey) -> str:
    """Return the key record (RFC 6376 section 3.6.1)."""
    return f"v=DKIM1; k={key.algorithm}; p={key.public}"


def judge(record: DnsRecord, found: Sequence[str] | None, rules: DnsRules) -> Status:
    """Judge the TXT records `found` at the name of `record`; None: DNS did not answer."""
    if found is None:
        return "unknown"
    if record.key == "spf":
        policies = [text for text in found if text.lower().split(" ")[0] == "v=spf1"]
        if not policies:
            return "missing"
        wanted = {f"include:{spf_host(rules)}", f"+include:{spf_host(rules)}"}
        # Two policies are a permanent error (RFC 7208 section 4.5).
        good = len(policies) == 1 and bool(wanted & set(policies[0].lower().split()))
        return "ok" if good else "different"
    if record.key == "dmarc":
        good = any(text.replace(" ", "").lower().startswith("v=dmarc1;") for text in found)
        return "ok" if good else "missing"
    if not found:
        return "missing"
    wanted_text = _squeeze(record.value)
    return "ok" if any(_squeeze(text) == wanted_text for text in found) else "different"


def _squeeze(text: str) -> str:
    return "".join(text.split()).rstrip(";")


def is_verified(checks: dict[str, str]) -> bool:
    """Whether the checks prove that the domain is in the account's hands."""
    dkim = [status for key, status in checks.items() if key.startswith("dkim ")]
    return checks.get("ownership") == "ok" or (bool(dkim) and all(s == "ok" for s in dkim))
