"""What the transformer answers when it is asked how a mail would be sent.

The question is a `Submission` with its message, as on the queue of the transformer. The answer's
body is the message as the one recipient would get it, without DKIM signatures.
"""

from postroad_common.schemas.model import Schema


class MailChange(Schema):
    """One thing that was done to the mail, or left alone, and why.

    `kind` is a stable word, `reason` a sentence; `before` and `after` are a URL, the name or the
    value of a field, or whatever else was changed; `count` is how often.
    """

    kind: str
    reason: str
    before: str = ""
    after: str = ""
    count: int = 1


class PreviewAnswer(Schema):
    """See the module. `refused`, if it is not empty, is why there is no preview."""

    v: int = 1
    refused: str = ""
    envelope: str = ""  # the MAIL FROM that would be used
    list: str = ""  # what the recipient may have unsubscribed from; empty: nothing
    signatures: tuple[str, ...] = ()  # the DKIM keys that would sign, as names of their records
    changes: tuple[MailChange, ...] = ()
