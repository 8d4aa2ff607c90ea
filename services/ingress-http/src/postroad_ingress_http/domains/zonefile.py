"""DNS records as a zone file has them (RFC 1035 section 5), to be pasted into one."""

from collections.abc import Iterable

from postroad_ingress_http.domains.dnsrecords import DnsRecord

TTL = 3600  # seconds
_LONGEST_STRING = 255  # octets of one string of a TXT record


def write_zone(zone: str, records: Iterable[DnsRecord]) -> str:
    """Return the lines for the records of `zone`, names relative to it."""
    lines = [f"$ORIGIN {zone}.", f"$TTL {TTL}"]
    for record in records:
        lines.append(f"; {record.purpose}")
        lines.append(f"{record.host}\tIN\t{record.type}\t{_data(record)}")
    return "\n".join(lines) + "\n"


def _data(record: DnsRecord) -> str:
    if record.type == "MX":
        return f"{record.priority} {record.value}."
    if record.type == "CNAME":
        return f"{record.value}."
    text = record.value.replace("\\", "\\\\").replace('"', '\\"')
    parts = [text[at : at + _LONGEST_STRING] for at in range(0, len(text), _LONGEST_STRING)]
    return " ".join(f'"{part}"' for part in parts)
