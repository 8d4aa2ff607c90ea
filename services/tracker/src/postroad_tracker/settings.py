"""The tracker's settings."""

from pydantic import Field

from postroad_common.settings import (
    ProxySettings,
    ServiceSettings,
    SpoolSettings,
    TrackingSettings,
)
from postroad_common.settingvalues import Port


class Settings(ServiceSettings, TrackingSettings, SpoolSettings, ProxySettings):
    """See the parents for what is shared."""

    tracker_port: Port = Field(
        default=8081, title="Tracker port", description="HTTP; 0 takes a free one"
    )
    spool_max_bytes: int = Field(
        default=268_435_456,
        ge=1_048_576,
        le=1_099_511_627_776,
        title="Largest spool",
        description="bytes of events kept on disk while the broker is away (256 MiB; one event "
        "takes some 400); what does not fit is not counted, but readers are served",
    )
