"""The codes of errors, for programs: each once, with what it means. Generates docs/errors.md."""

from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong. Codes are only added."""

    ACCOUNT_SUSPENDED = "account_suspended"
    ALREADY_CANCELLED = "already_cancelled"
    ALREADY_SENT = "already_sent"
    ATTACHMENT_REFUSED = "attachment_refused"
    ATTACHMENT_TOO_LARGE = "attachment_too_large"
    ATTACHMENT_UNREACHABLE = "attachment_unreachable"
    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"
    CONFLICT = "conflict"
    CONTROL_HEADER = "control_header"
    COUNT_DIFFERS = "count_differs"
    DOMAIN_TAKEN = "domain_taken"
    ERROR = "error"
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a code
    FORBIDDEN = "forbidden"
    HEADERS_TOO_LARGE = "headers_too_large"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    IN_PROGRESS = "in_progress"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    INTERNAL_ERROR = "internal_error"
    INVALID = "invalid"
    INVALID_ENCODING = "invalid_encoding"
    INVALID_FORM = "invalid_form"
    INVALID_JSON = "invalid_json"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a code
    LIMIT_REACHED = "limit_reached"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MISSING = "missing"
    NETWORK_NOT_ALLOWED = "network_not_allowed"
    NO_ANSWER = "no_answer"
    NOT_ACCEPTABLE = "not_acceptable"
    NOT_FOUND = "not_found"
    NOT_KEPT = "not_kept"
    NOT_OFFERED = "not_offered"
    NOT_WAITING = "not_waiting"
    PARTLY_ACCEPTED = "partly_accepted"
    SENDER_NOT_ALLOWED = "sender_not_allowed"
    SENDER_NOT_VERIFIED = "sender_not_verified"
    TEMPLATE_NOT_ALLOWED = "template_not_allowed"
    TEMPLATE_SYNTAX = "template_syntax"
    TEMPLATE_TOO_LARGE = "template_too_large"
    TEMPLATE_TOO_SLOW = "template_too_slow"
    TEMPLATE_UNKNOWN_VARIABLE = "template_unknown_variable"
    TEMPLATE_VALUE = "template_value"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    TOO_MANY_DIRECTIVES = "too_many_directives"
    TOO_MANY_RECIPIENTS = "too_many_recipients"
    TOO_MANY_REQUESTS = "too_many_requests"
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"
    UNKNOWN_FIELD = "unknown_field"
    UNPROCESSABLE = "unprocessable"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"


MEANINGS: dict[ErrorCode, tuple[str, str]] = {
    ErrorCode.ACCOUNT_SUSPENDED: ("403", "The account is suspended and sends nothing."),
    ErrorCode.ALREADY_CANCELLED: ("409", "The scheduled mail is cancelled already."),
    ErrorCode.ALREADY_SENT: ("409", "The scheduled mail was handed out before."),
    ErrorCode.ATTACHMENT_REFUSED: ("422", "The URL of an attachment may not be fetched."),
    ErrorCode.ATTACHMENT_TOO_LARGE: ("422", "The files to be fetched are larger than a mail."),
    ErrorCode.ATTACHMENT_UNREACHABLE: ("422", "The URL of an attachment gives no file now."),
    ErrorCode.BAD_REQUEST: ("400", "The request makes no sense as HTTP or as a whole."),
    ErrorCode.CANCELLED: ("409", "The message is being cancelled."),
    ErrorCode.CONFLICT: ("409", "It conflicts with what is there."),
    ErrorCode.CONTROL_HEADER: ("400", "A control header has a value that is not understood."),
    ErrorCode.COUNT_DIFFERS: ("409", "The search finds another number than was confirmed."),
    ErrorCode.DOMAIN_TAKEN: ("409", "Another account has verified the domain."),
    ErrorCode.ERROR: ("any", "Anything that has no code of its own."),
    ErrorCode.EXPIRED_TOKEN: ("401", "The token has expired."),
    ErrorCode.FORBIDDEN: ("403", "It is not allowed."),
    ErrorCode.HEADERS_TOO_LARGE: ("431", "The headers of the request are too large."),
    ErrorCode.IDEMPOTENCY_MISMATCH: ("409", "The Idempotency-Key belongs to another request."),
    ErrorCode.IN_PROGRESS: ("409", "The request with this Idempotency-Key is being worked on."),
    ErrorCode.INSUFFICIENT_SCOPE: ("403", "The token lacks the scope."),
    ErrorCode.INTERNAL_ERROR: ("500", "A fault of Postroad's; it is in the log."),
    ErrorCode.INVALID: ("400", "The field has a value that cannot be used."),
    ErrorCode.INVALID_ENCODING: ("400", "The compressed body cannot be read."),
    ErrorCode.INVALID_FORM: ("400", "The form cannot be read."),
    ErrorCode.INVALID_JSON: ("400", "The body is no JSON object, or has too many values."),
    ErrorCode.INVALID_TOKEN: ("401", "There is no such token."),
    ErrorCode.LIMIT_REACHED: ("429", "The account has sent what it may today."),
    ErrorCode.METHOD_NOT_ALLOWED: ("405", "The path does not take the method; see Allow."),
    ErrorCode.MISSING: ("400", "The field is required."),
    ErrorCode.NETWORK_NOT_ALLOWED: ("403", "The token may not be used from this network."),
    ErrorCode.NO_ANSWER: ("504", "No transformer has answered in time."),
    ErrorCode.NOT_ACCEPTABLE: ("406", "Accept excludes what this answers with."),
    ErrorCode.NOT_FOUND: ("404", "There is no such thing in this account."),
    ErrorCode.NOT_KEPT: ("404, 409", "The content is not kept, or not any more."),
    ErrorCode.NOT_OFFERED: ("400", "The original service had this; Postroad has not."),
    ErrorCode.NOT_WAITING: ("409", "The message does not wait any more."),
    ErrorCode.PARTLY_ACCEPTED: (
        "503",
        "Some mails of the request are safe: repeat it with its key.",
    ),
    ErrorCode.SENDER_NOT_ALLOWED: ("403", "The token may not send from this domain."),
    ErrorCode.SENDER_NOT_VERIFIED: ("403", "The account has not verified this domain."),
    ErrorCode.TEMPLATE_NOT_ALLOWED: ("422", "The template does what templates may not."),
    ErrorCode.TEMPLATE_SYNTAX: ("422", "The template cannot be read."),
    ErrorCode.TEMPLATE_TOO_LARGE: ("422", "What the template makes is too large."),
    ErrorCode.TEMPLATE_TOO_SLOW: ("422", "The template takes too long."),
    ErrorCode.TEMPLATE_UNKNOWN_VARIABLE: ("422", "The data lacks a name that the template uses."),
    ErrorCode.TEMPLATE_VALUE: ("422", "A value cannot be used where the template puts it."),
    ErrorCode.TIMEOUT: ("408", "The request did not arrive in time."),
    ErrorCode.TOO_LARGE: ("413", "The body or the message is too large."),
    ErrorCode.TOO_MANY_DIRECTIVES: ("429", "The account has too many directives for messages."),
    ErrorCode.TOO_MANY_RECIPIENTS: ("400", "The request names too many recipients."),
    ErrorCode.TOO_MANY_REQUESTS: ("429", "Too many requests, or failed log-ins; see Retry-After."),
    ErrorCode.UNAUTHORIZED: ("401", "The request has no token."),
    ErrorCode.UNAVAILABLE: ("503", "Broker or database are away, or all places are taken."),
    ErrorCode.UNKNOWN_FIELD: ("400", "A field or query parameter is not known."),
    ErrorCode.UNPROCESSABLE: ("422", "It cannot be worked on."),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: ("415", "The content type or encoding is not taken."),
}
"""For each code the status that it comes with, and a sentence."""


def to_markdown() -> str:
    """Return `docs/errors.md`."""
    lines = [
        "# Error codes",
        "",
        "Generated by `scripts/generate_docs.py` from the code; do not edit.",
        "",
        "`error.code` in the answers of the [REST API](rest.md). Programs decide by the code; the",
        "message is for people and may change.",
        "",
        "| code | status | meaning |",
        "|---|---|---|",
        *(f"| `{code}` | {status} | {text} |" for code, (status, text) in MEANINGS.items()),
    ]
    return "\n".join(lines) + "\n"
