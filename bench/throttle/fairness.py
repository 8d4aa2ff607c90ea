"""Who waits when one account has a mailing: in virtual time, and over real sockets."""

from collections.abc import Iterator, Sequence

from bench.throttle.receiver import ScriptedReceiver
from bench.throttle.simulation import Letter, Receiver, Result, always, simulate
from bench.throttle.wire import drive
from postroad_sender.throttle.controller import Caps

MAILING = 10_000  # messages
OTHERS = ("a", "b", "c", "d", "e")
BEGIN = 20.0  # seconds behind the mailing, when the others hand theirs in
SECONDS = 60
RATE = 20.0  # messages per second that the receiver takes
FEW, MANY = 5, 100  # messages of each of the others


def letters(each: int, *, in_turns: bool = True) -> list[Letter]:
    """Return the mailing and `each` messages of the others, in turns or in one queue for all."""
    made = [Letter("big", 0.0, "big") for _ in range(MAILING)]
    made += [Letter(name, BEGIN, name) for _ in range(each) for name in OTHERS]
    if not in_turns:
        for letter in made:
            letter.account = ""
    return made


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 if all have the same, 1 / n if one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares) or 1.0)


def shares(result: Result, each: int) -> list[float]:
    """Messages of each account from `BEGIN` until the first of the others has nothing left."""
    counts = dict.fromkeys(("big", *OTHERS), 0)
    for moment, name in result.starts:
        if moment >= BEGIN:
            counts[name] += 1
            if name != "big" and counts[name] == each:
                break
    return list(map(float, counts.values()))


def _row(title: str, each: int, result: Result) -> str:
    waits = [wait for name in OTHERS for wait in result.waits.get(name, [])]
    late = each * len(OTHERS) - len(waits)
    waited = "over 40 s" if late else f"{sum(waits) / len(waits):.1f} s, {max(waits):.1f} s"
    return f"| {title} | {each} | {waited} | {jain(shares(result, each)):.2f} |"


def _virtual(each: int, *, in_turns: bool) -> Result:
    receiver = Receiver(rate=always(RATE))
    sent = letters(each, in_turns=in_turns)
    return simulate(receiver, SECONDS, caps=Caps(connections=50), letters=sent)


def virtual_rows() -> Iterator[str]:
    """One queue for all, and ours."""
    for each in (FEW, MANY):
        yield _row("one queue for all", each, _virtual(each, in_turns=False))
        yield _row("Postroad", each, _virtual(each, in_turns=True))


async def wire_row(each: int) -> str:
    """Return the row of the same over real sockets."""
    receiver = ScriptedReceiver(Receiver(rate=always(RATE)))
    result = await drive(receiver, SECONDS, letters=letters(each))
    return _row("Postroad, real sockets", each, result)


def rows(real: Sequence[str]) -> list[str]:
    """Return the table."""
    return [
        "| rules | messages of each | they wait: on average, at most | Jain's index |",
        "|---|---|---|---|",
        *virtual_rows(),
        *real,
    ]
