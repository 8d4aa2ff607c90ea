"""Parameters of MAIL and RCPT that a server has offered to take, and then refuses.

What a message can go without is left out then: SIZE, what DSN asks for, BODY=8BITMIME. Without
SMTPUTF8 or REQUIRETLS a message that has them is not what it should be, so these stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from postroad_smtp.client.commands import Envelope
from postroad_smtp.client.session import Capabilities
from postroad_smtp.client.stage import Stage
from postroad_smtp.client.transaction import RecipientResult

_ABOUT_PARAMETERS = frozenset({455, 504, 555})


@dataclass(frozen=True, slots=True)
class RefusedParameters:
    """The `extensions` that are better not used, and the `recipients` (numbers) it concerns."""

    extensions: frozenset[str] = frozenset()
    recipients: tuple[int, ...] = ()


NOTHING_REFUSED = RefusedParameters()


def refused_parameters(
    envelope: Envelope, offered: Capabilities, answers: Sequence[RecipientResult]
) -> RefusedParameters:
    """Return what the `answers` object to, of the parameters that `envelope` can go without.

    Codes by RFC 5321 section 4.1.1.11: 555 (and 504) not known, 455 not now.
    """
    concerned = [
        number
        for number, answer in enumerate(answers)
        if answer.reply is not None and not answer.local and answer.reply.code in _ABOUT_PARAMETERS
    ]
    if not concerned:
        return NOTHING_REFUSED
    if answers[concerned[0]].stage is Stage.MAIL:
        extensions = _optional_at_mail(envelope, offered)
        return RefusedParameters(extensions, tuple(concerned)) if extensions else NOTHING_REFUSED
    recipients = tuple(
        number
        for number in concerned
        if answers[number].stage is Stage.RCPT
        and offered.dsn
        and (envelope.recipients[number].notify or envelope.recipients[number].orcpt)
    )
    return RefusedParameters(frozenset({"DSN"}), recipients) if recipients else NOTHING_REFUSED


def _optional_at_mail(envelope: Envelope, offered: Capabilities) -> frozenset[str]:
    """Return the extensions that MAIL used and can do without; 8BITMIME if no other is left."""
    used = set()
    if offered.size is not None:
        used.add("SIZE")
    if offered.dsn and (envelope.ret or envelope.envid):
        used.add("DSN")
    if not used and envelope.eightbit and offered.eightbitmime:
        used.add("8BITMIME")
    return frozenset(used)
