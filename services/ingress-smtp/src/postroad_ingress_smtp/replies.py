"""The replies, all in one place.

`docs/smtp.md` lists the same situations; each has a dialog test.
"""

from collections.abc import Sequence

from postroad_common.mail.reply import Reply

QUEUED_LINES = 45
QUEUED_OCTETS = 3500
"""How long the reply to a message for several recipients may be as a whole."""

# Connections
TOO_MANY_CONNECTIONS = Reply(421, "4.3.2", "Too many connections; try again later")
DRAINING = Reply(421, "4.3.2", "The server is being restarted; connect again")
TIMED_OUT = Reply(421, "4.4.2", "Nothing came in time; closing the connection")
TOO_SLOW = Reply(421, "4.4.2", "The message arrives too slowly; closing the connection")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors; closing the connection")
TOO_MANY_IDLE = Reply(421, "4.7.0", "Too many commands without a message; closing the connection")
BROKEN = Reply(421, "4.3.0", "An internal error occurred; try again later")
NOT_HTTP = Reply(521, "5.5.1", "This is a mail server; it does not speak HTTP")

# Command lines
LINE_TOO_LONG = Reply(500, "5.5.2", "The command line is too long")
AUTH_LINE_TOO_LONG = Reply(500, "5.5.6", "The AUTH exchange line is too long")
LINE_ENDS = Reply(500, "5.5.2", "A command ends with CR LF and has no other CR, LF or NUL")
NOT_TEXT = Reply(500, "5.5.2", "The command is not valid UTF-8")
UNKNOWN = Reply(500, "5.5.1", "The command is not recognised")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "The command is not implemented")
NO_ARGUMENT = Reply(501, "5.5.4", "The command takes no argument")
HELO_SYNTAX = Reply(501, "5.5.4", "Say your host name: EHLO host.example.com")
NEED_EHLO = Reply(503, "5.5.1", "Send EHLO first")
NEED_TLS = Reply(530, "5.7.0", "Issue STARTTLS first; mail is taken over TLS only")
NEED_LOGIN = Reply(530, "5.7.0", "Authentication required; use AUTH PLAIN or AUTH LOGIN")
OK = Reply(250, "2.0.0", "Ok")
BYE = Reply(221, "2.0.0", "Bye")
HELP = Reply(214, "2.0.0", "Commands: EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP QUIT")
CANNOT_VERIFY = Reply(252, "2.5.0", "Addresses are not verified; send the mail and it is tried")

# TLS
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")
HAS_TLS = Reply(503, "5.5.1", "TLS is already in use")
NO_TLS = Reply(454, "4.7.0", "TLS is not available at the moment")

# AUTH
WELCOME = Reply(235, "2.7.0", "Authentication succeeded")
AUTH_FAILED = Reply(535, "5.7.8", "Username or password is wrong, or the login is disabled")
AUTH_NETWORK = Reply(535, "5.7.1", "This login may not be used from your network")
AUTH_BLOCKED = Reply(454, "4.7.0", "Too many failed logins; try again in a few minutes")
AUTH_UNAVAILABLE = Reply(454, "4.7.0", "Logins cannot be checked at the moment; try again later")
AUTH_TOO_OFTEN = Reply(421, "4.7.0", "Too many failed logins; closing the connection")
AUTH_CONNECTIONS = Reply(421, "4.7.0", "Too many connections of this login; try again later")
AUTH_CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
AUTH_NOT_BASE64 = Reply(501, "5.5.2", "The response is not valid base64")
AUTH_SYNTAX = Reply(501, "5.5.4", "Syntax: AUTH PLAIN|LOGIN [initial-response]")
AUTH_MECHANISM = Reply(504, "5.5.4", "Use AUTH PLAIN or AUTH LOGIN")
AUTH_AGAIN = Reply(503, "5.5.1", "Already authenticated")
AUTH_IN_MAIL = Reply(503, "5.5.1", "AUTH is not permitted during a mail transaction")
LOGIN_GONE = Reply(421, "4.7.0", "The login was disabled or its password changed; log in again")

ACCOUNT_SUSPENDED = Reply(550, "5.7.1", "This account is suspended and may not send")
ACCOUNT_LIMIT = Reply(452, "4.7.1", "This account has sent what it may today; go on tomorrow (UTC)")
FROM_UNCLEAR = Reply(
    550, "5.7.1", "Exactly one From header is needed here, with addresses of your domains"
)

# MAIL and RCPT
MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]")
PARAMETERS_NEED_EHLO = Reply(555, "5.5.4", "Parameters need EHLO instead of HELO")
NO_BINARY = Reply(555, "5.6.1", "BINARYMIME is not offered; encode the message as base64")
REQUIRETLS_NEEDS_TLS = Reply(530, "5.7.10", "REQUIRETLS needs TLS; issue STARTTLS first")
NESTED_MAIL = Reply(503, "5.5.1", "A message is in progress; send RSET to begin anew")
NEED_MAIL = Reply(503, "5.5.1", "Send MAIL first")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
NO_RECIPIENT = Reply(553, "5.1.3", "A recipient needs an address")
TOO_MANY_RECIPIENTS = Reply(
    452, "4.5.3", "Too many recipients; send this message and use another one for the rest"
)
NOT_OURS = Reply(550, "5.7.1", "Only addresses made by this server are accepted here")
EXPIRED = Reply(550, "5.7.1", "This bounce address has expired")

# DATA and BDAT
NEED_RCPT = Reply(503, "5.5.1", "Send RCPT first")
NO_VALID_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
GO_AHEAD = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
DATA_IN_CHUNKS = Reply(503, "5.5.1", "The message has been begun with BDAT; go on with BDAT")
BDAT_SYNTAX = Reply(501, "5.5.4", "Syntax: BDAT size [LAST]")
NO_MEMORY = Reply(452, "4.3.1", "Not enough memory for this message now; try again later")
UNCLEAN_END = Reply(521, "5.5.2", "The data ended with a bare CR or LF; end each line with CR LF")
AWAY = Reply(451, "4.3.0", "The message could not be stored safely; try again later")
UNREADY = Reply(451, "4.3.0", "Messages cannot be taken at the moment; try again later")


# The content of a message
HAS_NUL = Reply(554, "5.6.0", "The message has a NUL octet; encode that part as base64")
BARE_CR = Reply(550, "5.5.2", "The message has a bare CR; end each line with CR LF")
LONE_DOT = Reply(
    550, "5.5.2", "The message has a line of one dot beside a bare LF; end each line with CR LF"
)
EIGHT_BIT = Reply(
    554,
    "5.6.1",
    "The message has 8-bit octets although BODY=7BIT was declared; declare BODY=8BITMIME",
)


def long_line(limit: int, *, in_header: bool) -> Reply:
    """Refuse a line of more than `limit` octets."""
    advice = "fold it" if in_header else "encode that part as quoted-printable or base64"
    where = "header line" if in_header else "line"
    return Reply(554, "5.6.0", f"The message has a {where} of more than {limit} octets; {advice}")


def long_header(limit: int) -> Reply:
    """Refuse a header block of more than `limit` octets."""
    return Reply(554, "5.6.0", f"The header block is larger than {limit} octets; shorten it")


def mail_loop(hops: int) -> Reply:
    """Refuse a message that has passed `hops` servers."""
    return Reply(
        554, "5.4.6", f"Mail loop: the message has passed {hops} servers; check the forwarding"
    )


def too_large(limit: int) -> Reply:
    """Refuse a message whose size, or declared size, is over `limit` octets."""
    return Reply(552, "5.3.4", f"The message is larger than the limit of {limit} octets")


def too_fast(what: str, seconds: float) -> Reply:
    """Refuse for `seconds`, after which the rate of the login allows more."""
    return Reply(
        450, "4.7.1", f"The login sends too many {what}; try again in {int(seconds) + 1} s"
    )


def too_many_returns(seconds: float) -> Reply:
    """Refuse a bounce address for `seconds`, because of how much has come back to it."""
    return Reply(
        450, "4.7.1", f"Too much comes back to this address; try again in {int(seconds) + 1} s"
    )


def bad_sender(reason: str) -> Reply:
    """Refuse an address of MAIL that is no mailbox."""
    return Reply(553, "5.1.7", f"Bad sender: {reason}")


def bad_recipient(reason: str) -> Reply:
    """Refuse an address of RCPT that is no mailbox."""
    return Reply(553, "5.1.3", f"Bad recipient: {reason}")


def needs_smtputf8(what: str) -> Reply:
    """Refuse a non-ASCII address without the SMTPUTF8 parameter (RFC 6531 section 3.5)."""
    return Reply(553, "5.6.7", f"The {what} is not ASCII; declare SMTPUTF8 with MAIL")


def bad_control(header: str, text: str) -> Reply:
    """Refuse a control header with a value that is not understood."""
    return Reply(550, "5.6.0", f"{header}: {text}")


def sender_not_allowed(domain: str, allowed: Sequence[str]) -> Reply:
    """Refuse a sender whose domain is none of the login's."""
    return Reply(
        550, "5.7.1", f"This login may not send from {domain}; allowed: {', '.join(allowed)}"
    )


def sender_not_verified(domain: str) -> Reply:
    """Refuse a sender whose domain the account has not verified."""
    return Reply(550, "5.7.1", f"This account may not send from {domain}; verify the domain first")


def queued(submission: str, recipients: Sequence[tuple[str, str]]) -> Reply:
    """Accept a message: `recipients` has message id and address of each.

    One recipient gets one line with its id. Several get a line each, and the first id again at the
    end, as long as all of it stays within what clients read (Exim reads 4,096 octets of a reply,
    msmtp 50 lines): beyond that the id of the submission stands for them all.
    """
    last = f"Ok, queued as {recipients[0][0]}"
    if len(recipients) == 1:
        return Reply(250, "2.0.0", last)
    if len(recipients) < QUEUED_LINES:
        lines = [f"{message_id} {address}" for message_id, address in recipients]
        reply = Reply(250, "2.0.0", "\n".join([*lines, last]))
        if len(reply.wire()) <= QUEUED_OCTETS:
            return reply
    return Reply(250, "2.0.0", f"Ok, queued as {submission} for {len(recipients)} recipients")
