"""The addresses that a request asks about, in the forms in which the store has them."""

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_ingress_http.http.errors import bad_field


def read_address(text: str) -> str:
    """Return the address in the form of the list: lower case.

    Raises:
        ApiError: 400.
    """
    return exact_address(text).lower()


def exact_address(text: str) -> str:
    """Return the address as messages have it: the domain in lower case, else as it is.

    Raises:
        ApiError: 400.
    """
    try:
        return parse_mailbox(text.strip(), smtputf8=True).text
    except AddressError as error:
        raise bad_field("address", f"Not an e-mail address: {error}.") from None
