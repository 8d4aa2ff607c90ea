"""The SMTP conversation inside a bounce: which reply was given to which command, about whom.

Sendmail and its relatives print it (`>>> RCPT To:<a@b>`, `<<< 550 no`, `550 <a@b>... User
unknown`), MDaemon with `-->` and `<--`; Postfix and Exim name the command in a sentence. What the
receiver itself answered is worth more than how the reporting server sums it up.
"""

import re
from dataclasses import dataclass, replace

MAX_LINES = 400
MAX_REPLY = 600

_SENT = re.compile(r"\s{0,8}(?:>>>|-->) ?([A-Za-z]{4})\b(.{0,400})")
_RECEIVED = re.compile(r"\s{0,8}(?:<<<|<--) ?(.{1,600})")
_SUMMARY = re.compile(
    r"\s{0,8}(?:[245]\d\d(?: [245]\.\d{1,3}\.\d{1,3})? )?<([^<>\s]{1,320})>\.\.\. ?(.{0,400})"
)
# The answer to DATA after every RCPT was refused: what stands in front answered RCPT, although
# a pipelining client had sent DATA already.
_NO_RECIPIENTS = re.compile(
    r"(?:503|554) .{0,40}(?:need|valid|no) .{0,12}(?:rcpt|recipient)", re.IGNORECASE
)
# How Sendmail sums up a permanent answer to the data, or to DATA where RCPT was accepted.
_DATA_REFUSED = re.compile(r"\s{0,8}554 5\.0\.0 service unavailable", re.IGNORECASE)
_REPLY = re.compile(r"[245]\d\d[ -]")
_COMMANDS = {
    "conn": "connect",
    "init": "connect",
    "ehlo": "ehlo",
    "helo": "ehlo",
    "lhlo": "ehlo",
    "mail": "mail",
    "rcpt": "rcpt",
    "data": "data",
    "bdat": "data",
    "end ": "data",
    "fina": "data",
    "dot ": "data",
    "mess": "data",
}
# A sentence that tells which command was answered.
_ANSWERED = re.compile(
    r"in reply to (?:the )?(?:end of )?([a-z]{4}|end )"
    r"|error from remote (?:mail server|mailer|server) after (?:the )?(?:end of )?([a-z]{4})"
    r"|lmtp error after (?:the )?(?:end of )?([a-z]{4})"
    r"|did not like our ([a-z]{4})"
    r"|smtp:(conn|helo|ehlo|mail|rcpt|data)\b"
    r"|most progress was (conn|helo|ehlo|mail|rcpt|data)"
    r"|sent <<< (rcpt|data|mail) "
    r"|refused to accept your message \((helo|ehlo|mail|rcpt|data)"
    r"|(?:command was|command:|smtp command) ?:? ?(helo|ehlo|mail|rcpt|data)\b"
)
_SAID = (
    ("refused to talk to me", "connect"),
    ("but greeting failed", "connect"),
    ("my name was rejected", "ehlo"),
    ("but sender was rejected", "mail"),
    ("does not like recipient", "rcpt"),
    ("failed on data command", "data"),
    ("failed after i sent the message", "data"),
    ("(state 13)", "ehlo"),
    ("(state 14)", "rcpt"),
    ("(state 15)", "data"),
    ("(state 17)", "data"),
    ("(state 18)", "data"),
)
_ADDRESS_IN = re.compile(r"<?([^\s<>:]{1,64}@[^\s<>]{1,255})>?")


@dataclass(frozen=True, slots=True)
class SmtpExchange:
    """What was said about one recipient."""

    stage: str
    """The command that was answered, as rules name it (`rule.STAGES`); empty if not known."""
    reply: str
    """The receiver's words, lines joined."""
    summary: str
    """How the reporting server puts it; often empty."""


def find_exchange(words: str, address: str) -> SmtpExchange | None:
    """Return the last exchange about ``address`` that was refused, or None if there is none."""
    if "<<<" not in words and "<--" not in words and "..." not in words:
        return None
    wanted = address.lower()
    stage = named = ""
    replies: list[str] = []
    found: SmtpExchange | None = None
    for line in words.split("\n", MAX_LINES)[:MAX_LINES]:
        sent = _SENT.match(line)
        if sent is not None:
            if found is None and replies and named == wanted:
                found = SmtpExchange(stage, " ".join(replies)[:MAX_REPLY], "")
            stage = _COMMANDS.get(sent[1].lower(), "")
            match = _ADDRESS_IN.search(sent[2]) if stage == "rcpt" else None
            named, replies = (match[1].lower() if match else ""), []
            continue
        received = _RECEIVED.match(line)
        if received is not None:
            if _NO_RECIPIENTS.match(received[1]):
                if found is not None and found.stage == "data":
                    found = replace(found, stage="rcpt")
            else:
                replies.append(received[1].strip())
            continue
        summary = _SUMMARY.match(line)
        if summary is not None:
            if summary[1].lower() == wanted and (replies or found is None):
                # Sendmail sums up the answer to one RCPT so, even if DATA had been sent already.
                answered = "rcpt" if "user unknown" in summary[2].lower() else stage
                found = SmtpExchange(
                    answered, " ".join(replies)[:MAX_REPLY], line.strip()[:MAX_REPLY]
                )
            replies = []
        elif replies and stage == "data" and found is None and _DATA_REFUSED.match(line):
            found = SmtpExchange(stage, " ".join(replies)[:MAX_REPLY], "")
            replies = []
    if replies and named == wanted and (found is None or not found.reply):
        found = SmtpExchange(stage, " ".join(replies)[:MAX_REPLY], "")
    return found if found is not None and (_REPLY.match(found.reply) or found.summary) else None


def stage_in(text: str) -> str:
    """Return the command that a sentence says was answered; empty if it does not say."""
    lowered = " ".join(text.lower().split())
    match = _ANSWERED.search(lowered)
    if match is not None:
        word = next(group for group in match.groups() if group)
        return _COMMANDS.get(word, "")
    return next((stage for sentence, stage in _SAID if sentence in lowered), "")
