"""Sites: the receiving servers behind a domain, named by their MX hosts.

All domains whose mail is taken by the same hosts are one site and share one budget, because it is
the hosts that count connections, not the domains.
"""

import hashlib
from collections.abc import Iterable

MAX_NAME = 160  # characters


def site_name(hosts: Iterable[str]) -> str:
    """Return the name of the site made of `hosts`; the same for the same set in any order and case.

    `a.mx.example` and `b.mx.example` make `(a|b).mx.example`.
    """
    names = sorted({host.rstrip(".").lower() for host in hosts})
    if not names:
        return ""
    if len(names) == 1:
        return names[0][:MAX_NAME]
    labels = [name.split(".") for name in names]
    common = 0
    shortest = min(len(parts) for parts in labels)
    while common < shortest - 1 and len({parts[-common - 1] for parts in labels}) == 1:
        common += 1
    variants = "|".join(".".join(parts[: len(parts) - common]) for parts in labels)
    suffix = ".".join(labels[0][len(labels[0]) - common :])
    name = f"({variants}).{suffix}" if common else f"({variants})"
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256("|".join(names).encode()).hexdigest()[:12]
    return f"({names[0][:80]}|+{len(names) - 1}|{digest})"
