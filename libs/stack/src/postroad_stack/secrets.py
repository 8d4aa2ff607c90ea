"""The secrets of one stack: made once, kept in its state dir, readable by its owner only."""

import contextlib
import hashlib
import hmac
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from postroad_stack.document import LoginInfo
from postroad_stack.state_dir import write_atomically


def _secret() -> str:
    return secrets.token_urlsafe(24)


class Secrets(BaseModel):
    """Passwords and keys. `credential` is the demo login, once the REST API has made it."""

    model_config = ConfigDict(frozen=True)

    secret: str = Field(default_factory=lambda: secrets.token_urlsafe(36))
    broker_user: str = "postroad"
    broker_password: str = Field(default_factory=_secret)
    erlang_cookie: str = Field(default_factory=lambda: secrets.token_hex(16).upper())
    database_user: str = "postroad"
    database_password: str = Field(default_factory=_secret)
    database_key: str = Field(default_factory=lambda: secrets.token_hex(64))
    admin_email: str = "admin@postroad.test"
    admin_password: str = Field(default_factory=lambda: secrets.token_urlsafe(12))
    admin_token: str = Field(default_factory=lambda: "pr_" + secrets.token_urlsafe(30))
    credential: LoginInfo | None = None

    def database_password_of(self, service: str) -> str:
        """Return the password of a service's own user in the database."""
        key = self.database_password.encode()
        return hmac.digest(key, service.encode(), hashlib.sha256).hex()

    def broker_password_of(self, service: str) -> str:
        """Return the password of a service's own user at the broker."""
        key = self.broker_password.encode()
        return hmac.digest(key, service.encode(), hashlib.sha256).hex()

    def save(self, path: Path) -> None:
        """Write the secrets down."""
        write_atomically(path, self.model_dump_json(indent=1))


def load_secrets(path: Path) -> Secrets:
    """Return the secrets of a state dir; new ones (written down) where there are none."""
    with contextlib.suppress(FileNotFoundError):
        return Secrets.model_validate_json(path.read_bytes())
    made = Secrets()
    made.save(path)
    return made
