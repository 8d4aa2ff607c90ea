"""What a token and its account may send: refusals before anything is injected."""

from postroad_common.mail.address import domain_of
from postroad_common.mail.senders import from_addresses, is_within
from postroad_common.store.sendingrights import SendingRights
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.sending.submission import Prepared, RequestOrigin


def check_account(rights: SendingRights, messages: int) -> None:
    """Check that the account may send this many messages now.

    Raises:
        ApiError: 403, it is suspended; 429, it has sent what it may today.
    """
    if rights.suspended:
        raise ApiError(403, "This account is suspended and may not send.", code="account_suspended")
    if rights.left_today is not None and rights.left_today < messages:
        raise ApiError(
            429, f"This account may send {rights.left_today} more messages today (UTC).",
            code="limit_reached", headers={"Retry-After": "3600"},
        )  # fmt: skip


def check_sender(rights: SendingRights, origin: RequestOrigin, prepared: Prepared) -> None:
    """Check that the From field and the envelope name only what token and account may send from.

    Raises:
        ApiError: 403, with the field that names another.
    """
    if rights.domains is None and not origin.sender_domains:
        return
    field = "mime" if prepared.whole else "from"
    addresses = from_addresses(prepared.message)
    if addresses is None:
        raise ApiError(
            403, "Exactly one From header is needed here, with addresses of your domains.",
            code="sender_not_allowed", field=field,
        )  # fmt: skip
    _check(rights, origin, addresses, field)
    _check(rights, origin, (prepared.submission.envelope,), "envelope")


def _check(
    rights: SendingRights, origin: RequestOrigin, addresses: tuple[str, ...], field: str
) -> None:
    unverified = rights.unverified(*addresses)
    if unverified:
        raise ApiError(
            403, f"This account may not send from {unverified}; verify the domain first.",
            code="sender_not_verified", field=field,
        )  # fmt: skip
    domains = [domain_of(address) for address in addresses if address]
    outside = [each for each in domains if not is_within(each, origin.sender_domains)]
    if origin.sender_domains and outside:
        raise ApiError(
            403, f"This token may not send from {outside[0]}.",
            code="sender_not_allowed", field=field,
        )  # fmt: skip
