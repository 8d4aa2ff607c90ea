"""The five features, and which setting wins (header over REST field or login over default)."""

from collections.abc import Mapping
from typing import Self

from postroad_common.schemas.model import Schema


class Features(Schema):
    """What Postroad does with a message. The defaults are those of a new SMTP login."""

    inlinecss: bool = False
    clicktracking: bool = False
    openstracking: bool = False
    preventscam: bool = False
    bouncetracking: bool = False

    def overridden(self, overrides: Mapping[str, bool]) -> Self:
        """Return these features with `overrides` (feature name to value) on top."""
        return self.model_copy(update=dict(overrides)) if overrides else self


REST_DEFAULTS = Features(clicktracking=True, openstracking=True, bouncetracking=True)
"""What a REST call gets that names no feature."""
