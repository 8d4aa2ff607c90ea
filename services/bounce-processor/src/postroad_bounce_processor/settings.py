"""What the bounce-processor needs to know."""

from postroad_common.settings import BounceSettings, MessageSettings, ServiceSettings


class Settings(ServiceSettings, BounceSettings, MessageSettings):
    """All of it is shared with other services."""
