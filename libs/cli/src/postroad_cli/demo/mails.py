"""The mails of the demo, and what is to become of each link and image in them."""

import secrets
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

SENDER = "orders@shop.test"
READER = "reader@example.test"

_SHOP = "https://shop.test"
_TRACKED = (
    f"{_SHOP}/orders/1047?step=track&lang=en",
    f"{_SHOP}/account/deliveries#next",
    f"{_SHOP}/gifts?for=you%20and%20me",
)
_OWN_TEXT = f"{_SHOP}/terms"
_UNTOUCHED = (_OWN_TEXT, "mailto:help@shop.test")
_IMAGES = (f"{_SHOP}/images/logo.png", f"{_SHOP}/images/parcel.jpg?size=600")

_HTML = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Your parcel is on its way</title>
<style>
  body {{ background: #f4f1ea; font-family: Georgia, serif; color: #2b2b2b; margin: 0 }}
  .card {{ background: #ffffff; max-width: 560px; margin: 24px auto; padding: 32px }}
  h1 {{ font-size: 24px; color: #1d4e5f }}
  .button {{ background: #1d4e5f; color: #ffffff; padding: 12px 20px; text-decoration: none }}
  .small {{ font-size: 12px; color: #777777 }}
  @media (max-width: 600px) {{ .card {{ padding: 16px }} }}
</style>
</head>
<body>
<div class="card">
  <img src="{_IMAGES[0]}" alt="The Shop" width="120">
  <h1>Grüezi Ada, your parcel is on its way</h1>
  <p>It left our house at 7:12 and should be with you tomorrow.</p>
  <img src="{_IMAGES[1]}" alt="A parcel" width="496">
  <p><a class="button" href="{_TRACKED[0].replace("&", "&amp;")}">Follow your parcel</a></p>
  <p>Somebody else at home? <a href="{_TRACKED[1]}">Change the delivery</a>,
     or look at <a href="{_TRACKED[2]}">gifts for both of you</a>.</p>
  <p class="small">Terms: <a href="{_OWN_TEXT}">{_OWN_TEXT}</a> ·
     Questions: <a href="{_UNTOUCHED[1]}">help@shop.test</a></p>
</div>
</body>
</html>
"""

_TEXT = """\
Grüezi Ada,

your parcel is on its way. It left our house at 7:12 and should be with you tomorrow.
"""


@dataclass(frozen=True)
class DemoMail:
    """A mail to send, with the URLs that are to be tracked and those that are to stay."""

    envelope: str
    recipient: str
    subject: str
    raw: bytes
    tracked: tuple[str, ...] = _TRACKED
    untouched: tuple[str, ...] = _UNTOUCHED
    images: tuple[str, ...] = _IMAGES


def nobody() -> str:
    """Return an address that does not exist; a new one each time, as its bounce suppresses it."""
    return f"gone-{secrets.token_hex(3)}@example.test"


def parcel_mail(recipient: str, subject: str) -> DemoMail:
    """Return the HTML mail of the demo for one recipient, 7-bit clean, CRLF line ends."""
    message = EmailMessage()
    message["From"] = f"The Shop <{SENDER}>"
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain="shop.test")
    message.set_content(_TEXT, cte="quoted-printable")
    message.add_alternative(_HTML, subtype="html", cte="quoted-printable")
    raw = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    return DemoMail(envelope=SENDER, recipient=recipient, subject=subject, raw=raw)
