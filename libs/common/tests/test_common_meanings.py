"""Sentences that no phrase knows are understood by pairs of meanings."""

import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_common.classification.classifier import built_in
from postroad_common.classification.meanings import (
    NEAR,
    Vocabulary,
    are_near,
    fold,
    vocabulary,
)
from postroad_common.classification.rule import RuleError, read_rule

_WORDS = tomllib.loads(
    (files("postroad_common.classification") / "rules" / "vocabulary.toml").read_text(
        encoding="utf-8"
    )
)
_SENTENCES = [
    # (code, text, class, hard)
    (550, "the mailbox of this person could not be located", "no-such-user", True),
    (550, "Utilizatorul nu există", "no-such-user", True),
    (550, "Käyttäjää ei löydy", "no-such-user", True),
    (550, "Пользователь не найден", "no-such-user", True),
    (550, "המשתמש לא קיים", "no-such-user", True),
    (550, "该用户不存在", "no-such-user", True),
    (450, "Uživatel neexistuje", "unavailable", False),
    (552, "Schránka příjemce je přeplněná", "mailbox-full", False),
    (552, "メールボックスの容量が不足しています", "mailbox-full", False),
    (550, "Konto zablokowane", "disabled", False),
    (550, "the person you write to has changed jobs; new address: see our site", "disabled", True),
    (550, "the domain of this address is not registered", "no-such-domain", True),
    (554, "this mail carries a worm", "virus", False),
    (550, "Votre adresse IP est bloquée", "reputation", False),
    (550, "our filter takes this for junk", "content", False),
    (552, "Message trop volumineux", "size", False),
    (550, "the sender could not be verified", "sender-refused", False),
    (451, "you are sending too fast", "rate-limit", False),
    (550, "this host is send-only", "no-such-domain", True),
    (454, "certificate of the peer expired", "tls", False),
]


@pytest.mark.parametrize(("code", "text", "name", "hard"), _SENTENCES)
def test_sentence_is_understood_by_its_meanings(code: int, text: str, name: str, *, hard: bool):
    found = built_in().classify(code, "", text, "rcpt")
    assert found.classification.value == name
    assert found.hard == hard


@pytest.mark.parametrize(
    "text",
    [
        "the sender's mailbox could not be located",
        "no mailbox of ours: your IP address is not on the list of known senders",
        "DKIM key of the domain not found",
        "HELO name could not be found",
        "unknown error while writing to the mailbox",
        "erreur inconnue pendant la livraison au destinataire",
        "the account was not found in our whitelist",
        "a message for this user has an invalid attachment",
        "this user has no valid license",
        "the address of your host could not be found",
        "no such sender may write to this mailbox",
    ],
)
def test_what_is_said_of_somebody_else_never_condemns_the_recipient(text: str):
    assert not built_in().classify(550, "", text, "rcpt").hard


def test_words_of_the_server_that_quotes_a_reply_do_not_count():
    text = "SMTP error from remote mail server after RCPT TO: host mx.example.net [192.0.2.9]: "
    found = built_in().classify(550, "", text + "550 Address does not live at this site", "rcpt")
    assert found.classification == "no-such-user"


@pytest.mark.parametrize("meaning", sorted(_WORDS))
def test_each_word_is_found_where_it_stands(meaning: str):
    for word in _WORDS[meaning]["words"]:
        plain = word.removesuffix("*").lower()
        places = vocabulary().places(f"so, {plain}.")
        assert 4 in places.get(meaning, []), word


def test_words_are_whole_and_stems_open():
    words = Vocabulary({"full": ["full", "overflow*", "no room", "nicht gefund*"]})
    assert words.places("full, overflowing; no room. nicht gefunden") == {"full": [0, 6, 19, 28]}
    assert words.places("fuller overflo no roomy") == {}


def test_accents_and_marks_do_not_count():
    assert fold("Boîte přeplněná łø ß ガ") == "Boite preplnena lo ss カ"


@given(st.integers(0, 2 * NEAR))
def test_near_is_within_sixty_characters_in_both_directions(distance: int):
    for places in ({"a": [100], "b": [100 + distance]}, {"a": [100 + distance], "b": [100]}):
        assert are_near(places, ["a", "b"]) == (distance <= NEAR)


@given(st.lists(st.integers(0, 300), max_size=6), st.lists(st.integers(0, 300), max_size=6))
def test_near_is_what_comparing_all_pairs_says(first: list[int], second: list[int]):
    places = {"a": sorted(first), "b": sorted(second)}
    assert are_near(places, ["a", "b"]) == any(abs(x - y) <= NEAR for x in first for y in second)


def test_a_rule_with_a_meaning_that_the_vocabulary_lacks_is_refused():
    with pytest.raises(RuleError, match="nonsense"):
        read_rule("test", {"class": "virus", "near": ["nonsense"]})
