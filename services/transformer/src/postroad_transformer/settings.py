"""The settings of the transformer."""

from typing import Literal

from pydantic import Field

from postroad_common.settings import (
    BounceSettings,
    ServiceSettings,
    SimulatorSettings,
    TrackingSettings,
)


class Settings(TrackingSettings, BounceSettings, SimulatorSettings, ServiceSettings):
    """Beside what every service has: tracking and bounce names, and choices about the mail."""

    css_engine: Literal["css-inline", "premailer"] = Field(
        default="css-inline",
        title="CSS engine",
        description="what matches style rules to elements; premailer is about 50 times slower",
    )
    list_unsubscribe: bool = Field(
        default=False,
        title="Add List-Unsubscribe",
        description="give mail without a List-Unsubscribe field one of ours, with one-click "
        "(RFC 8058); using it puts the recipient on the suppression list",
    )
    archive_days: float = Field(
        default=7.0,
        ge=0,
        le=3660,
        title="Archive",
        description="days that the content of messages is kept, as submitted and as sent; 0 keeps "
        "none",
    )
    feedback_sender: str = Field(
        default="postroad",
        pattern=r"^[A-Za-z0-9-]{5,15}$",
        title="Feedback sender",
        description="last part of the Feedback-ID field, 5 to 15 characters: your name in "
        "Gmail's feedback loop",
    )
