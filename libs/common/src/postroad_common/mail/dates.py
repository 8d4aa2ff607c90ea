"""Dates as the headers of mail have them."""

from email.utils import formatdate


def date_text(seconds: float) -> str:
    """Return a Unix time as a date (RFC 5322 section 3.3) in UTC.

    Its zone is `+0000`; the `-0000` of the standard library says that nothing is known of the zone.
    """
    return formatdate(seconds).removesuffix("-0000") + "+0000"
