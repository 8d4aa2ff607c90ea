"""The sentences of a preview: why something is added, removed, changed or left alone."""

from postroad_transformer.composing.rewrite import INLINED, NOTHING_TO_INLINE

ADDED = {
    "Received": "Every server notes that it has handled the mail (RFC 5321).",
    "Date": "The mail had none, and every mail needs one (RFC 5322).",
    "Message-ID": "The mail had none; without it answers and duplicates are not recognised.",
    "Feedback-ID": "Gmail reports complaints by it.",
    "List-Unsubscribe": "Unsubscribing in one click, offered by the mail program (RFC 8058).",
    "List-Unsubscribe-Post": "Says that one click is enough (RFC 8058).",
}
REMOVED = {
    "bcc": "Nobody may see who gets a blind copy.",
    "resent-bcc": "Nobody may see who gets a blind copy.",
    "return-path": "It is the receiving server that writes it.",
}
CSS = {
    INLINED: "Style sheets were written into the elements, for programs that ignore them.",
    NOTHING_TO_INLINE: "Inlining was asked for, but there are no styles that can be inlined.",
}
TEXT_MADE = "A plain text was made from the HTML: the mail had none."
LINK_TRACKED = "Click tracking: the link leads by way of the tracking host."
IMAGE_TRACKED = "Open tracking: the image is fetched by way of the tracking host."
PIXEL = "Open tracking: no image is sure to be fetched, so an invisible one was added."
HOSTED = "The image is on the tracking host instead of in the mail."
BOUNCES = "Bounce tracking: returned mail comes to Postroad, which knows whose it is."
LEFT = {
    "opted_out": 'The element says data-track="off".',
    "own": "It leads to the tracking host already.",
    "too_long": "Its address is longer than 3,000 octets.",
    "unsubscribe": "A link to unsubscribe is never tracked.",
    "preventscam": "Its text is itself an address: changed, it would look like fraud.",
    "too_many": "It is one of more than 2,000.",
}
