"""A submission: one message as an application handed it in, with all its recipients.

Written by the ingresses, read by the transformer. The frame's body is the MIME message with its
control headers already taken out, unless `body` refers to a stored one.
"""

from typing import Literal

from pydantic import Field

from postroad_common.schemas.features import Features
from postroad_common.schemas.model import Schema

NotifyWish = Literal["never", "success", "failure", "delay"]
RetWish = Literal["full", "hdrs"]


class Recipient(Schema):
    """One recipient: `id` is the message id that the sender of the mail sees."""

    id: str
    address: str
    notify: tuple[NotifyWish, ...] = ()
    orcpt: str | None = None  # "rfc822;address", the address decoded


class Client(Schema):
    """Who handed the message in, for the Received header."""

    ip: str
    helo: str = ""
    tls: str | None = None  # "TLSv1.3 TLS_AES_256_GCM_SHA384"
    protocol: str = "ESMTPSA"


class BodyReference(Schema):
    """A body kept in the store (claim check). `size` is in octets."""

    file: str
    size: int


class Submission(Schema):
    """See the module. Times are Unix seconds; `envelope` is empty for the null sender."""

    v: int = 1
    id: str
    account: str
    credential: str
    source: Literal["smtp", "rest"]
    received: float
    envelope: str
    recipients: tuple[Recipient, ...]
    ret: RetWish | None = None
    envid: str | None = None
    smtputf8: bool = False
    eightbit: bool = False
    requiretls: bool = False
    line_ends_repaired: int = 0  # lines that the client ended with LF alone
    features: Features
    forward_bounces: bool = True
    tags: tuple[str, ...] = ()
    images_hosted: bool = False
    text_from_html: bool = False
    list: str = ""  # as it is named; else a mail that can be unsubscribed from is of its sender's
    sender: str = ""  # the (first) From address, in lower case
    message_id_hash: int = 0  # of the client's own Message-ID (`mail.messageid`); 0 without one
    list_unsubscribe: bool | None = None  # None: as the transformer is set
    keep_content: bool = True  # in the archive, where there is one
    test: bool = False  # everything is done but sending it
    expires: float
    send_at: float | None = None
    client: Client | None = None
    subject: str = ""
    metadata: dict[str, str] = Field(
        default_factory=dict
    )  # of the application's own, told again with every event
    traceparent: str = ""  # of the request that sent it (W3C Trace Context)
    template: str = ""  # the id of the stored template that it was made from
    size: int
    body: BodyReference | None = None
