"""The classification's values are on the wire: they are compared with a list written by hand."""

from postroad_common.mail.classification import Classification

_VALUES = """
    no-such-user no-such-domain disabled unavailable mailbox-full quota policy content virus
    reputation auth-failure rate-limit greylisted dns routing connection tls relay-denied
    sender-refused size protocol server-error expired undetermined
"""


def test_values_are_those_that_are_stored_and_shown():
    assert [str(member) for member in Classification] == _VALUES.split()


def test_only_classes_of_the_address_are_hard_and_only_those_of_the_mailbox_count():
    hard = {member for member in Classification if member.hard}
    counts = {member for member in Classification if member.counts}
    assert hard == {"no-such-user", "no-such-domain", "disabled"}
    assert counts == {"mailbox-full", "unavailable"}
