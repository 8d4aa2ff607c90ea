"""Each rule's regular expressions on hostile text: 256 kB of their own atoms, in linear work.

The work is not timed but bounded: a backtracking expression would run for hours here, and the
suite's own limit would end it. Texts are cut before rules see them; here they are not.
"""

import re
import tomllib
from importlib.resources import files
from itertools import chain

import pytest

from postroad_bounce_processor.understanding import fallback, passages, report, transcript
from postroad_common.classification.meanings import vocabulary
from postroad_common.classification.phrases import MAX_WORDS, normalise, phrase_pattern

_SIZE = 256 * 1024
_ATOM = re.compile(r"[a-z0-9@'-]{2,}|[.<>\[\]():]")


def _rules() -> list[tuple[str, list[str], list[str]]]:
    found = []
    folder = files("postroad_common.classification") / "rules"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name[:1].isdigit():
            entries = tomllib.loads(file.read_text(encoding="utf-8"))["rule"]
            found += [
                (f"{file.name}-{n}", entry.get("phrases", []), entry.get("patterns", []))
                for n, entry in enumerate(entries, start=1)
            ]
    return [rule for rule in found if rule[1] or rule[2]]


def _hostile(pattern: str) -> list[str]:
    """Return texts made of what the pattern looks for, none of which need match to the end."""
    atoms = _ATOM.findall(pattern) or ["a"]
    joined = " ".join(atoms)
    return [
        (joined + " ") * (_SIZE // (len(joined) + 1)),
        (atoms[0] + " ") * (_SIZE // (len(atoms[0]) + 1)),
        "".join(atoms) * (_SIZE // len("".join(atoms))),
        atoms[0] + "a" * _SIZE,
        " " * _SIZE,
    ]


@pytest.mark.parametrize(
    ("name", "phrases", "patterns"), _rules(), ids=lambda value: str(value)[:24]
)
def test_rule_is_linear_on_its_own_atoms(name: str, phrases: list[str], patterns: list[str]):
    longest = max(phrases, key=len, default="")
    compiled = [phrase_pattern(longest)] if longest else []
    for pattern in chain(compiled, patterns):
        searched = re.compile(pattern)
        for text in _hostile(pattern):
            match = searched.search(text)
            assert match is None or match.end() - match.start() < 2000, name


_READERS = {
    "own words": passages.own_words,
    "a passage": lambda text: passages.find_passage(text, "", "kim@example.net"),
    "an exchange": lambda text: transcript.find_exchange(text, "kim@example.net"),
    "a stage": transcript.stage_in,
    "a status": report.enhanced_status,
    "a reply code": report.reply_code,
    "meanings": lambda text: vocabulary().places(text),
    "fallback": lambda text: fallback.ask_fallback(text.encode()),
}
_TEXTS = {
    "halves of addresses": "kim@" * (_SIZE // 4),
    "addresses in lines": "a@b.example\n" * (_SIZE // 12),
    "our address in lines": "kim@example.net\n" * (_SIZE // 16),
    "commands": ">>> RCPT To:<kim@example.net\n" * (_SIZE // 29),
    "replies": "<<< 550 no\n" * (_SIZE // 11),
    "summaries": "550 5.1.1 <kim@example.net>... \n" * (_SIZE // 32),
    "sentences about commands": "in reply to end of " * (_SIZE // 19),
    "rulers": "-" * _SIZE,
    "rulers in lines": "--- below \n" * (_SIZE // 11),
    "blank lines": "\n" * _SIZE,
    "numbers": "5.1." * (_SIZE // 4),
    "beginnings of phrases": "not found by no such " * (_SIZE // 21),
    "scripts without spaces": "存在しな" * (_SIZE // 4),
}


@pytest.mark.parametrize("text", sorted(_TEXTS))
@pytest.mark.parametrize("reader", sorted(_READERS))
def test_reader_is_linear_on_hostile_text(reader: str, text: str):
    _READERS[reader](_TEXTS[text])


def test_text_that_rules_see_is_bounded():
    assert len(normalise("a b@c " * _SIZE)) <= MAX_WORDS


def test_fallback_takes_no_line_of_uuencoded_data_for_an_address():
    data = b'M4&]S=\')O860@<F5P;W)T@34X.3DP,3(S-#4V-S@Y(""!\n' * 40
    raw = b"From: mailer-daemon@x.example\nSubject: failure\n\nbegin 644 a\n" + data + b"end\n"
    temporary, permanent = fallback.ask_fallback(raw)
    assert all(
        re.fullmatch(r"[^\s\"\\()<>]+@[a-z0-9.-]+", found) for found in temporary | permanent
    )


def test_fallback_keeps_mailboxes_only():
    kept = {"kim@example.net", "<Kim.Lee+x@Example.NET>"}
    dropped = {"m4&]s=')o860@<f5p", "kim@localhost", "kim lee@example.net", "@example.net"}
    assert fallback.mailboxes(kept | dropped) == {"kim@example.net", "kim.lee+x@example.net"}
