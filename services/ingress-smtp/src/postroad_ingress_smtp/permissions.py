"""What a login and its account may do: from which networks, and from which domains they send."""

from ipaddress import ip_network

from postroad_common.mail.address import domain_of
from postroad_common.mail.reply import Reply
from postroad_common.mail.senders import from_addresses, is_within
from postroad_common.store.credentials import Credential
from postroad_common.store.sendingrights import SendingRights
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
    return None if is_within(domain, domains) else replies.sender_not_allowed(domain, domains)


def check_rights(rights: SendingRights, sender: str) -> Reply | None:
    """Return the refusal of any mail of an account, or of the envelope address `sender`."""
    if rights.suspended:
        return replies.ACCOUNT_SUSPENDED
    if rights.left_today == 0:
        return replies.ACCOUNT_LIMIT
    domain = rights.unverified(sender)
    return replies.sender_not_verified(domain) if domain else None


def check_from(credential: Credential, rights: SendingRights, message: bytes) -> Reply | None:
    """Return the refusal of a message whose From field names what login or account may not use."""
    if rights.domains is None and not credential.sender_domains:
        return None
    addresses = from_addresses(message)
    if addresses is None:
        return replies.FROM_UNCLEAR
    domain = rights.unverified(*addresses)
    if domain:
        return replies.sender_not_verified(domain)
    refusals = (check_sender(credential, address) for address in addresses)
    return next((refusal for refusal in refusals if refusal), None)
