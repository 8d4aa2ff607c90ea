"""What is written by hand is what the library would write."""

from typing import Any

import pytest
from aiormq.abc import ChannelFrame
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from postroad_common.broker.publishframes import publication

MOST = 1000


@given(
    channel=st.integers(1, 2047),
    exchange=st.sampled_from(["", "outbound", "sender.retry.5s"]),
    routing_key=st.text(max_size=60),
    size=st.sampled_from([0, 1, MOST - 1, MOST, MOST + 1, 3 * MOST]),
    expiration=st.none() | st.integers(1, 10**9).map(str),
    headers=st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.text(max_size=5)),
)
def test_frames_are_those_of_the_library(
    channel: int,
    exchange: str,
    routing_key: str,
    size: int,
    expiration: str | None,
    headers: dict[str, Any] | None,
) -> None:
    body = bytes(n % 251 for n in range(size))
    properties = spec.Basic.Properties(
        delivery_mode=2, headers=headers or None, expiration=expiration, message_id="17"
    )
    parts = [ContentBody(body[start : start + MOST]) for start in range(0, size, MOST)]
    publish = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    frames: list[Any] = [publish, ContentHeader(properties=properties, body_size=size), *parts]
    assert publication(
        channel,
        exchange,
        routing_key,
        body,
        message_id="17",
        expiration=expiration,
        headers=headers,
        most=MOST,
    ) == ChannelFrame.marshall(channel_number=channel, frames=frames)


def test_routing_key_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="too long for AMQP"):
        publication(1, "", "é" * 128, b"", message_id="1", most=MOST)
