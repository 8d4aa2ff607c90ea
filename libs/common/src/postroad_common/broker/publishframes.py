"""A publication as it goes over the wire (AMQP 0-9-1), written by hand.

The library makes three objects for each and asks each field for its type, for five times the
processor time. What is published often has the same few properties; for others it is asked still.
"""

import struct
from collections.abc import Mapping
from typing import Any

from aiormq.abc import ChannelFrame
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_PERSISTENT = 2
_FRAME = struct.Struct(">BHI")
_PUBLISH = struct.Struct(">HHH")  # class, method, and a field that is reserved
_CONTENT = struct.Struct(">HHQHB")  # class, weight, octets, flags, delivery mode
_BASIC, _BASIC_PUBLISH = 60, 40
_MANDATORY = b"\x01"
_MODE_AND_ID = 0x1080  # which properties there are: the delivery mode, the message id
_EXPIRATION = 0x0100


def publication(
    channel: int,
    exchange: str,
    routing_key: str,
    body: bytes,
    *,
    message_id: str,
    expiration: str | None = None,
    headers: Mapping[str, Any] | None = None,
    most: int,
) -> ChannelFrame:
    """Return the frames that publish `body`, persistent and mandatory.

    `most` is how many octets of a body go into one frame; `expiration` is in milliseconds.

    Raises:
        ValueError: the exchange or the routing key is longer than 255 octets.
    """
    if headers:
        return _by_library(
            channel,
            exchange,
            routing_key,
            body,
            properties=spec.Basic.Properties(
                delivery_mode=_PERSISTENT,
                headers=dict(headers),
                expiration=expiration,
                message_id=message_id,
            ),
            most=most,
        )
    size, flags = len(body), _MODE_AND_ID
    text = b""
    if expiration is not None:
        flags |= _EXPIRATION
        text = _short(expiration)
    method = b"".join(
        (_PUBLISH.pack(_BASIC, _BASIC_PUBLISH, 0), _short(exchange), _short(routing_key))
    )
    head = b"".join((_CONTENT.pack(_BASIC, 0, size, flags, _PERSISTENT), text, _short(message_id)))
    parts = [
        *(_FRAME.pack(_METHOD, channel, len(method) + 1), method, _MANDATORY, _END),
        *(_FRAME.pack(_HEADER, channel, len(head)), head, _END),
    ]
    for start in range(0, size, most):
        part = body if size <= most else body[start : start + most]
        parts += (_FRAME.pack(_BODY, channel, len(part)), part, _END)
    return ChannelFrame(payload=b"".join(parts), should_close=False, drain_future=None)


def _short(text: str) -> bytes:
    octets = text.encode()
    if len(octets) > 255:  # its length is one octet
        raise ValueError(f"too long for AMQP: {text[:50]}...")
    return bytes((len(octets),)) + octets


def _by_library(
    channel: int,
    exchange: str,
    routing_key: str,
    body: bytes,
    *,
    properties: spec.Basic.Properties,
    most: int,
) -> ChannelFrame:
    publish = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    size = len(body)
    parts = [ContentBody(body[start : start + most]) for start in range(0, size, most)]
    frames: list[Any] = [publish, ContentHeader(properties=properties, body_size=size), *parts]
    return ChannelFrame.marshall(channel_number=channel, frames=frames)
