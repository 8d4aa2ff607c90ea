"""What was said: the SMTP conversation of one attempt, for the timeline of its message.

It is text. Each line begins with `C: ` (we), `S: ` (the server) or `# ` (a remark). The message
itself and credentials are never in it; it is bounded, and free of control characters. While mail
flows only the commands and replies are kept, which are there anyway; text is made of them once, by
`Conversation.of`, when the attempt has ended.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest

from postroad_common.mail.reply import Reply

MOST_LINE = 500  # characters
MOST_LINES = 40  # of one reply
MOST_OPENING = 3000  # characters of all connections that were tried before a message is offered
MOST = 6000  # characters


@dataclass(slots=True)
class Conversation:
    """One message on one connection: `commands` (with CRLF) and the `replies` in their order.

    `offered` are the numbers of the recipients that were named, in the order of their RCPT; `end`
    is what ended the conversation, if not a reply.
    """

    offered: list[int]
    commands: list[bytes] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    end: str = ""

    def of(self, number: int, opening: str) -> str:
        """Return the text for the recipient `number`, after `opening`; others are counted."""
        lines = [opening]
        others = taken = position = 0
        alone = len(self.offered) == 1 and self.offered[0] == number
        for command, reply in zip_longest(self.commands, self.replies):
            if not alone and command is not None:
                if command.startswith(b"RCPT"):
                    position += 1
                    if self.offered[position - 1] != number:
                        others += 1
                        taken += reply is not None and reply.is_positive
                        continue
                elif position and others:
                    lines.append(_others(others, taken))
                    others = 0
            if command is not None:
                text = command[:-2].decode("utf-8", "replace")
                lines.append("C: " + (text if _is_fit(text) else clean(text)))
            if reply is not None:
                lines.append(of_server(reply))
        if others:
            lines.append(_others(others, taken))
        if number not in self.offered:
            lines.append("# this recipient was not offered")
        if self.end:
            lines.append("# " + clean(self.end))
        text = "\n".join(lines)
        return text if len(text) <= MOST else bounded(text, MOST)


def of_server(reply: Reply) -> str:
    """Return the lines of `reply`, as the server sent them. Its text has no control characters."""
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    if "\n" not in reply.text:
        return f"S: {reply.code} {enhanced}{reply.text}"[:MOST_LINE].rstrip()
    lines = reply.text.split("\n")
    last = lines.pop()
    shown = [f"S: {reply.code}-{enhanced}{line}"[:MOST_LINE] for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(f"# {len(lines) - MOST_LINES} more lines")
    return "\n".join([*shown, f"S: {reply.code} {enhanced}{last}"[:MOST_LINE]])


def clean(text: str) -> str:
    """`text` as one line without control characters, and not too long."""
    text = text[:MOST_LINE]
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def bounded(text: str, most: int) -> str:
    """`text` in about `most` characters: its beginning, and more of its end."""
    if len(text) <= most:
        return text
    head, tail = text[: most // 3], text[-(most - most // 3) :]
    # whole lines only, so that each still says whose it is
    return f"{head.rpartition(chr(10))[0]}\n# (left out)\n{tail.partition(chr(10))[2]}"


def moment(seconds: float) -> str:
    """Unix time as RFC 3339 has it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_fit(text: str) -> bool:
    return len(text) <= MOST_LINE and text.isprintable()


def _others(count: int, taken: int) -> str:
    what = "recipient" if count == 1 else "recipients"
    return f"# {count} other {what} in this transaction, {taken} accepted"
