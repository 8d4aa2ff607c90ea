"""Everything that speaks AMQP: the topology, the connection, publisher, consumer, event writer."""

from postroad_common.broker.consumer import Consumer
from postroad_common.broker.delivery import Delivery
from postroad_common.broker.dynamic import DynamicQueues
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.broker.publishing import Publication

__all__ = [
    "BrokerLink",
    "Consumer",
    "Delivery",
    "DynamicQueues",
    "EventWriter",
    "Publication",
    "Publisher",
]
