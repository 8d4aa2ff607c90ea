"""Heavy mail: made apart, given up in time, and nobody waits for another login's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from postroad_common.schemas.submission import Submission
from postroad_transformer.budget import HeavyError
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template
from postroad_transformer.fairness import FairTurns
from postroad_transformer.workers.pool import GivenUpError, HtmlBounds, UnansweredError, WorkerPool

Make = Callable[..., Submission]
HEAD = b"From: a@example.com\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
# Every selector matches every element, which the engine takes quadratic time for: some seconds.
SLOW = HEAD + b"<style>" + b"p{a:b}" * 1_500 + b"</style>" + b"<p>x</p>" * 1_200
LARGE = HEAD + b"<style>p{color:red}</style>" + b"<p>x</p>" * 10_000
PLAIN = HEAD + b"<style>p{color:red}</style><p>x</p>"


@pytest.fixture
async def pools() -> AsyncIterator[Callable[..., WorkerPool]]:
    made: list[WorkerPool] = []

    def make(**bounds: float) -> WorkerPool:
        made.append(WorkerPool(HtmlBounds(**bounds)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


async def test_a_process_makes_what_is_made_here(
    pools: Callable[..., WorkerPool], make_submission: Make, rules: Rules
):
    pool, submission = pools(), make_submission()
    for raw in (PLAIN, LARGE):
        made = await pool.make_template("login", raw, submission, rules)
        assert made.facts["css"] == "inlined"
        assert made == make_template(raw, submission, rules)


@pytest.mark.parametrize("raw", [SLOW, LARGE])
def test_what_takes_long_is_not_begun_on_the_event_loop(
    raw: bytes, make_submission: Make, rules: Rules
):
    with pytest.raises(HeavyError):
        make_template(raw, make_submission(), rules, light=True)
    assert make_template(PLAIN, make_submission(), rules, light=True).facts["css"] == "inlined"


def test_a_large_attachment_does_not_make_a_mail_heavy(make_submission: Make, rules: Rules):
    raw = (
        b"From: a@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: text/html\r\n\r\n<style>p{color:red}</style><p>x</p>\r\n--b\r\n"
        b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"AAAA" * 100_000
        + b"\r\n--b--\r\n"
    )
    assert make_template(raw, make_submission(), rules, light=True).facts["css"] == "inlined"


async def test_beyond_its_time_a_mail_is_given_up_and_the_next_one_made(
    pools: Callable[..., WorkerPool], make_submission: Make, rules: Rules
):
    pool, submission = pools(cpu_seconds=0.3), make_submission()
    with pytest.raises(GivenUpError, match=r"more than 0\.3 s of a processor"):
        await pool.make_template("login", SLOW, submission, rules)
    made = await pool.make_template("login", PLAIN, submission, rules)
    assert made.facts["css"] == "inlined"


async def test_beyond_its_memory_a_mail_is_given_up_and_the_next_one_made(
    pools: Callable[..., WorkerPool], make_submission: Make, rules: Rules
):
    pool, submission = pools(memory=180 << 20, cpu_seconds=30), make_submission()
    with pytest.raises(GivenUpError, match="too much memory"):
        await pool.make_template("login", HEAD + b"<p>" * 690_000, submission, rules)
    made = await pool.make_template("login", PLAIN, submission, rules)
    assert made.facts["css"] == "inlined"


async def test_a_machine_too_busy_to_answer_says_nothing_about_the_mail(
    pools: Callable[..., WorkerPool], make_submission: Make, rules: Rules
):
    pool, submission = pools(patience=0), make_submission()
    for _ in range(4):  # more often than mail may be given up in full
        with pytest.raises(UnansweredError, match="too busy"):
            await pool.make_template("login", PLAIN, submission, rules)
    assert not pool.processes.idle


async def test_a_process_that_dies_between_two_mails_is_replaced(
    pools: Callable[..., WorkerPool], make_submission: Make, rules: Rules
):
    pool, submission = pools(processes=1), make_submission()
    await pool.make_template("login", PLAIN, submission, rules)
    (worker,) = pool.processes.idle
    await worker.end()
    made = await pool.make_template("login", PLAIN, submission, rules)
    assert made.facts["css"] == "inlined"


async def test_a_login_whose_mail_is_given_up_again_and_again_gets_less_time_and_then_none(
    pools: Callable[..., WorkerPool], make_submission: Make, rules: Rules
):
    pool, submission = pools(cpu_seconds=0.2), make_submission()
    reasons = []
    for _ in range(11):
        with pytest.raises(GivenUpError) as found:
            await pool.make_template("bad", SLOW, submission, rules)
        reasons.append(str(found.value))
    assert ["0.2 s" in reason for reason in reasons] == [True] * 3 + [False] * 8
    assert ["0.02 s" in reason for reason in reasons] == [False] * 3 + [True] * 7 + [False]
    assert "within a minute" in reasons[-1]
    made = await pool.make_template("good", PLAIN, submission, rules)
    assert made.facts["css"] == "inlined"


async def hold(turns: FairTurns, names: Sequence[str]) -> list[str]:
    """Let all of `names` ask at once; in which order they got their turn."""
    order: list[str] = []

    async def one(name: str) -> None:
        async with turns.take(name):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*map(one, names))
    return order


async def test_turns_go_round_among_those_who_wait():
    assert await hold(FairTurns(1, 1), "aaaabbc") == list("aabcaba")


async def test_nobody_has_more_turns_than_each():
    turns = FairTurns(3, 2)
    async with turns.take("a"), turns.take("a"):
        waiting = asyncio.ensure_future(hold(turns, "a"))
        assert await hold(turns, "b") == ["b"]
        assert not waiting.done()
        assert len(turns) == 1
    assert await waiting == ["a"]


async def test_a_turn_that_was_given_to_somebody_who_has_left_goes_on():
    turns = FairTurns(1, 1)
    async with turns.take("a"):
        gone = asyncio.ensure_future(hold(turns, "b"))
        next_one = asyncio.ensure_future(hold(turns, "c"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    gone.cancel()
    assert await next_one == ["c"]
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await hold(turns, "d") == ["d"]
