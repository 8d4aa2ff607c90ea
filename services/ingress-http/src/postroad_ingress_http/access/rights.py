"""What may be handed on: nobody makes a login, a token or a user that may do more than they may."""

import ipaddress
from collections.abc import Iterable, Sequence

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.mail.senders import is_within
from postroad_common.store.tokens import Token
from postroad_ingress_http.access.scopes import allows, covers, scopes_of
from postroad_ingress_http.http.errors import ApiError, bad_field


def read_domains(field: str, domains: Iterable[str]) -> tuple[str, ...]:
    """Return the domains in A-label form; `*.` in front allows all below one.

    Raises:
        ApiError: 400.
    """
    try:
        return tuple(map(_read_domain, domains))
    except AddressError as error:
        raise bad_field(field, f"Not a domain: {error}.") from None


def read_networks(field: str, networks: Iterable[str]) -> tuple[str, ...]:
    """Return the networks as they are written canonically.

    Raises:
        ApiError: 400.
    """
    try:
        return tuple(str(ipaddress.ip_network(network.strip())) for network in networks)
    except ValueError:
        raise bad_field(field, "Give networks such as 192.0.2.0/24.") from None


def check_login(
    holder: Token, sender_domains: Sequence[str], networks: Sequence[str], *, test: bool
) -> None:
    """Check that `holder` may hand out a login that sends from these domains and networks.

    `test`: the login only tests.

    Raises:
        ApiError: 403, the login could send what the holder may not.
    """
    if not allows(holder.scopes, "send"):
        raise _beyond("A token without the scope `send` cannot hand out logins, which send.", None)
    if holder.expires is not None:
        raise _beyond("This token expires, and a login does not.", None)
    _check_bounds(holder, sender_domains, networks, "allowed_networks")
    _check_test(holder, test=test)


def check_token(holder: Token, wanted: Token) -> None:
    """Check that `holder` may hand out the token `wanted`.

    Raises:
        ApiError: 403, it could do what the holder may not.
    """
    if not covers(holder.scopes, wanted.scopes):
        raise _beyond("This token cannot hand out scopes that it does not have.", "scopes")
    _check_bounds(holder, wanted.sender_domains, wanted.networks, "networks")
    _check_test(holder, test=wanted.test)
    if holder.expires is not None and (wanted.expires is None or wanted.expires > holder.expires):
        raise _beyond("This token expires, and hands out none that lasts longer.", "expires")


def check_user(holder: Token, role: str) -> None:
    """Check that `holder`, whose scopes are enough for the role, may let somebody in with it.

    A user is bound to no network, time or domain, and to test mode neither.

    Raises:
        ApiError: 403, the user could do what the holder may not.
    """
    if holder.networks:
        raise _beyond(
            "This token may be used from some networks only; users log in from any.", None
        )
    if holder.expires is not None:
        raise _beyond("This token expires, and a user does not.", None)
    if (holder.sender_domains or holder.test) and not _only_looks(role):
        bound = "only tests" if holder.test else "may send from some domains only"
        raise _beyond(f"This token {bound}; it lets in users with the role `reader` only.", "role")


def _only_looks(role: str) -> bool:
    return all(scope.endswith(":read") for scope in scopes_of(role))


def _check_bounds(
    holder: Token, sender_domains: Sequence[str], networks: Sequence[str], networks_field: str
) -> None:
    if holder.sender_domains and not _domains_within(sender_domains, holder.sender_domains):
        allowed = ", ".join(holder.sender_domains)
        raise _beyond(
            f"This token may send from {allowed} only; name some of it.", "sender_domains"
        )
    if holder.networks and not _networks_within(networks, holder.networks):
        allowed = ", ".join(holder.networks)
        raise _beyond(
            f"This token may be used from {allowed} only; name some of it.", networks_field
        )


def _check_test(holder: Token, *, test: bool) -> None:
    if holder.test and not test:
        raise _beyond("This token only tests, and hands out nothing that sends.", "test")


def is_from(networks: Iterable[str], address: str) -> bool:
    """Whether the network address lies in one of the networks."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in ipaddress.ip_network(network) for network in networks)


def _read_domain(text: str) -> str:
    stripped = text.strip()
    below = "*." if stripped.startswith("*.") else ""
    return below + normalise_domain(stripped.removeprefix(below))


def _domains_within(domains: Sequence[str], allowed: Sequence[str]) -> bool:
    return bool(domains) and all(is_within(domain, allowed) for domain in domains)


def _networks_within(networks: Sequence[str], allowed: Sequence[str]) -> bool:
    outer = [ipaddress.ip_network(network) for network in allowed]
    return bool(networks) and all(
        any(
            inner.version == network.version and inner.subnet_of(network)  # type: ignore[arg-type]
            for network in outer
        )
        for inner in map(ipaddress.ip_network, networks)
    )


def _beyond(message: str, field: str | None) -> ApiError:
    return ApiError(403, message, code="insufficient_scope", field=field)
