"""What the bounce-processor needs to know."""

from postroad_common.settings import (
    BounceSettings,
    MessageSettings,
    ServiceSettings,
    SimulatorSettings,
)


class Settings(ServiceSettings, BounceSettings, MessageSettings, SimulatorSettings):
    """All of it is shared with other services."""
