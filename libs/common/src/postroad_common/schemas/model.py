"""The parent of every schema: frozen, strict about unknown types, tolerant of unknown fields.

Unknown fields are ignored on reading, so that a new version of one service can talk to an old
version of the next while a deployment rolls.
"""

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """A value that travels."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        allow_inf_nan=False,
    )

    def wire(self) -> bytes:
        """Return its JSON as it travels: fields that have their defaults are left out."""
        return self.model_dump_json(exclude_defaults=True).encode()
