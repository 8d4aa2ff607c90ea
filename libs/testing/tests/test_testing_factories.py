"""What the factories make survives the wire, and changes are taken."""

from postroad_common.schemas.framing import decode, encode
from postroad_common.schemas.outbound import OutboundMessage
from postroad_common.schemas.returns import DeliveryFailure
from postroad_common.schemas.submission import Submission
from postroad_testing import factories


def test_made_messages_survive_the_wire():
    submission = factories.submission("a@x.test", "b@x.test")
    assert decode(Submission, encode(submission))[0] == submission
    message = factories.outbound("a@x.test")
    assert decode(OutboundMessage, encode(message, factories.MIME))[0] == message
    failure = factories.failure(message)
    assert decode(DeliveryFailure, encode(failure))[0] == failure


def test_addresses_become_recipients_with_an_id_each():
    submission = factories.submission("a@x.test", "b@x.test")
    assert [one.address for one in submission.recipients] == ["a@x.test", "b@x.test"]
    message = factories.outbound("a@x.test", "b@x.test")
    assert len({one.id for one in (*submission.recipients, *message.recipients)}) == 4
    assert message.id == message.recipients[0].id


def test_changes_are_fields_of_the_model():
    assert factories.submission(account="other", received=5.0).expires == 3605.0
    wanted = factories.outbound_recipient("k@x.test", id="m", notify=("never",))
    assert factories.outbound(recipients=(wanted,)).id == "m"
    assert factories.failure(outcome="delayed").outcome == "delayed"
