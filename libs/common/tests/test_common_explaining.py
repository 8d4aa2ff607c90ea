"""What failures mean in plain words: every class, and codes that say more than their class."""

import tomllib
from importlib.resources import files

import pytest

from postroad_common.classification.classifier import built_in
from postroad_common.classification.explaining import TRIED_AGAIN, explain
from postroad_common.mail.classification import Classification

_TEXT = (files("postroad_common.classification") / "rules" / "classes.toml").read_text("utf-8")
_EXACT = [
    (Classification(name), code)
    for name, entry in tomllib.loads(_TEXT).items()
    for code, exact in entry.items()
    if isinstance(exact, dict)
]


def test_every_class_says_in_sentences_what_it_means_and_what_to_do():
    for one in Classification:
        for waits in (False, True):
            found = explain(one, waits=waits)
            assert found.classification is one
            assert found.meaning.endswith(".")
            assert found.advice.endswith(".")


@pytest.mark.parametrize(("classification", "code"), _EXACT)
def test_code_that_is_explained_exactly_is_one_of_its_class(
    classification: Classification, code: str
):
    assert built_in().classify(None, f"5.{code}", "").classification is classification
    exact, plain = explain(classification, f"5.{code}"), explain(classification, "5.0.0")
    assert (exact.meaning, exact.advice) != (plain.meaning, plain.advice)


def test_words_that_contradict_a_code_are_not_explained_by_the_code():
    assert explain(Classification.CONTENT, "5.7.26") == explain(Classification.CONTENT)


def test_mail_that_is_put_off_is_said_to_be_tried_again():
    assert explain(Classification.MAILBOX_FULL, "4.2.2", waits=True).advice == TRIED_AGAIN
    assert "usual with a first mail" in explain(Classification.GREYLISTED, waits=True).advice
