import csv
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from postroad_bounce_processor.understanding.report import enhanced_status, reply_code
from postroad_common.classification.classifier import Classifier, built_in
from postroad_common.classification.phrases import normalise, phrase_pattern
from postroad_common.classification.rule import RuleError, read_rule

_WORLD = Path(__file__).parent / "data" / "replies.tsv"

_PROBE = "<kim@example.net>: Recipient address rejected: "
_REPLIES = [
    # (code, enhanced, text, class)
    (550, "5.1.1", "User unknown", "no-such-user"),
    (550, "", "No such user here", "no-such-user"),
    (550, "5.1.1", "", "no-such-user"),
    (None, "5.1.1", "", "no-such-user"),
    (550, "5.1.10", "Recipient not found", "no-such-user"),
    (554, "", "delivery error: dd This user doesn't have a yahoo.com account", "no-such-user"),
    (550, "", "Mailbox does not exist", "no-such-user"),
    (450, "4.1.1", "User unknown in virtual mailbox table", "unavailable"),
    (556, "5.1.10", "Domain has a null MX", "no-such-domain"),
    (550, "5.1.2", "Host unknown (Name server: x: host not found)", "no-such-domain"),
    (550, "5.1.2", "the domain example.test does not exist", "no-such-domain"),
    (550, "5.1.2", "mx.example.test has neither MX nor address", "no-such-domain"),
    (None, "5.4.4", "Host or domain name not found", "no-such-domain"),
    (451, "4.4.3", "Name server timeout", "dns"),
    (550, "5.2.1", "The email account that you tried to reach is disabled", "disabled"),
    (450, "4.2.1", "mailbox temporarily disabled", "unavailable"),
    (550, "5.2.1", "mailbox temporarily disabled", "unavailable"),
    (552, "5.2.2", "Mailbox full", "mailbox-full"),
    (452, "4.2.2", "", "mailbox-full"),
    (550, "", "user@x: mailbox is full", "mailbox-full"),
    (450, "4.2.1", "The user is receiving mail at a rate that prevents more", "quota"),
    (552, "5.3.4", "Message too big", "size"),
    (552, "", "message size exceeds fixed maximum message size", "size"),
    (554, "5.7.1", "Spam detected", "content"),
    (550, "5.7.1", "Message contains a virus", "virus"),
    (554, "5.7.1", "Client host [192.0.2.1] blocked using zen.spamhaus.org", "reputation"),
    (550, "5.7.25", "", "reputation"),
    (421, "4.7.0", "Your IP has a poor reputation", "reputation"),
    (550, "5.7.26", "", "auth-failure"),
    (550, "5.7.1", "SPF check failed", "auth-failure"),
    (421, "4.7.28", "unusual rate of mail", "rate-limit"),
    (421, "", "too many connections from your host", "rate-limit"),
    (550, "5.1.1", "Rejected: too many unknown users from your host", "rate-limit"),
    (550, "", "Recipient unknown, ratio of unknown recipients too high", "rate-limit"),
    (550, "", "cuda_nsu kim@example.net", "no-such-user"),
    # Postfix, which asks another server whether an address exists.
    (550, "5.1.1", f"{_PROBE}undeliverable address: unknown user", "no-such-user"),
    (550, "5.1.1", f"{_PROBE}unverified address: connect to mx[192.0.2.3]:25: x", "connection"),
    (550, "5.1.1", f"{_PROBE}undeliverable address: mail for x loops back to myself", "routing"),
    (550, "5.1.1", f"{_PROBE}unverified address: host mx[192.0.2.3] said: 451 x", "server-error"),
    (
        550,
        "5.1.1",
        f"{_PROBE}undeliverable address: host mx[192.0.2.3] said: 550 x",
        "no-such-user",
    ),
    (450, "4.1.1", f"{_PROBE}unverified address: Address verification in progress", "server-error"),
    (550, "5.1.1", "Recipient address rejected: Mailbox is under maintenance", "unavailable"),
    (550, "", "Invalid recipient. We accept mail only from authenticated users", "policy"),
    (421, "", "bye", "rate-limit"),
    (451, "4.7.1", "Greylisted, please try again", "greylisted"),
    (554, "5.7.1", "Relay access denied", "relay-denied"),
    (550, "5.1.8", "Sender address rejected: Domain not found", "sender-refused"),
    (554, "5.4.6", "Too many hops", "routing"),
    (None, "4.4.1", "Connection timed out", "connection"),
    (None, "4.4.7", "", "expired"),
    (530, "5.7.0", "Must issue a STARTTLS command first", "tls"),
    (550, "5.7.1", "Message refused by policy", "policy"),
    (550, "5.7.1", "", "policy"),
    (451, "4.3.0", "Temporary lookup failure", "dns"),
    (452, "4.3.1", "Insufficient system storage", "server-error"),
    (502, "5.5.2", "Command not recognized", "protocol"),
    (550, "", "Requested action not taken: mailbox unavailable", "no-such-user"),
    (None, "", "", "undetermined"),
]


@pytest.mark.parametrize(("code", "enhanced", "text", "name"), _REPLIES)
def test_reply_has_its_class(code: int | None, enhanced: str, text: str, name: str):
    assert built_in().classify(code, enhanced, text).classification == name


def test_replies_that_servers_of_the_world_give_to_rcpt_have_their_classes():
    with _WORLD.open(encoding="utf-8", newline="") as file:
        replies = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(replies) > 300
    wrong = []
    for wanted in replies:
        enhanced, code = enhanced_status(wanted[2]), reply_code(wanted[2])
        code = 550 if code is None and not enhanced else code
        found = built_in().classify(code, enhanced, wanted[2], "rcpt")
        got = [found.classification.value, "hard" if found.hard else "soft", wanted[2]]
        if got != wanted:
            wrong.append(got)
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "enhanced", "text"),
    [
        (550, "5.1.1", "Sender address rejected: user unknown at sender's domain"),
        (550, "5.1.1", "Rejected as spam"),
        (550, "5.1.1", "your IP address is listed at dnsbl.example"),
        (550, "5.1.2", "your domain example.org does not exist"),
        (553, "5.1.8", "sender's domain example.org does not exist"),
        (550, "5.7.1", "Your domain could not be found"),
        (550, "", "HELO host does not exist"),
        (550, "", "<nosuchuser@example.com>: not today"),
        (550, "", "user.unknown@example.com refused"),
        (550, "5.1.1", "too many messages from your network"),
        (554, "5.1.1", "DMARC policy of the sender does not exist"),
        (451, "4.1.1", "no such user (yet)"),
        (550, "5.2.1", "account temporarily suspended"),
        (550, "5.7.1", "the mailbox policy does not permit this: does not exist in safe senders"),
    ],
)
def test_words_about_something_else_never_condemn_the_address(code: int, enhanced: str, text: str):
    assert not built_in().classify(code, enhanced, text).hard


def _classifier(*phrases: str) -> Classifier:
    """Return a classifier that calls `virus` whatever has one of the phrases."""
    return Classifier([read_rule("test", {"class": "virus", "phrases": list(phrases)})])


def test_phrases_match_whole_words_only():
    rules = _classifier("rbl", "throttl*")
    assert rules.classify(None, "", "listed in RBL.").classification == "virus"
    assert rules.classify(None, "", "you are THROTTLED").classification == "virus"
    assert rules.classify(None, "", "garbled").classification == "undetermined"


@given(
    st.from_regex(r"[a-b(ü' .]{1,8}[a-bü.)]\*?", fullmatch=True),
    st.text("ab (ü'.)", max_size=16),
    st.text("ab (ü'.)", max_size=16),
)
def test_phrase_is_found_exactly_where_its_pattern_is(phrase: str, before: str, after: str):
    """The words by which most phrases are dismissed must never dismiss one that is there."""
    assume("  " not in phrase)
    for text in (f"{before}{phrase.removesuffix('*')}{after}", before + after):
        searched = re.search(phrase_pattern(phrase), normalise(text)) is not None
        assert (_classifier(phrase).classify(None, "", text).classification == "virus") == searched


def test_addresses_and_case_and_spaces_do_not_matter():
    assert normalise("User\n  Unknown: <A.B@C.example> It\u2019s") == "user unknown: <@> it's"


@pytest.mark.parametrize(
    "entry",
    [
        {"class": "none-such", "phrases": ["x"]},
        {"class": "undetermined"},
        {"class": "undetermined", "phrases": ["Upper Case"]},
        {"class": "undetermined", "patterns": ["("]},
        {"class": "undetermined", "phrase": ["typing error in the key"]},
    ],
)
def test_a_broken_rule_is_refused_when_it_is_read(entry: dict[str, object]):
    with pytest.raises(RuleError):
        read_rule("test", entry)
