"""What a login may do: from which networks it may be used, and from which domains it may send."""

from ipaddress import ip_network

from postroad_common.mail.address import domain_of
from postroad_common.mail.reply import Reply
from postroad_common.store.credentials import Credential
from postroad_ingress_smtp import replies
from postroad_ingress_smtp.proxy import in_networks


def check_network(credential: Credential, address: str) -> Reply | None:
    """Return the refusal of the login at the IP `address`, if it may not be used from there."""
    if not credential.allowed_networks:
        return None
    networks = [ip_network(network, strict=False) for network in credential.allowed_networks]
    return None if in_networks(address, networks) else replies.AUTH_NETWORK


def check_sender(credential: Credential, sender: str) -> Reply | None:
    """Return the refusal of `sender`, if any; from the null sender every login may send."""
    domains = credential.sender_domains
    if not domains or not sender:
        return None
    domain = domain_of(sender)
    for allowed in map(str.lower, domains):
        if domain == allowed or (allowed.startswith("*.") and domain.endswith(allowed[1:])):
            return None
    return replies.sender_not_allowed(domain, domains)
