"""Shared by the transformer's tests: submissions, rules, keys, and mails."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from postroad_common.mail.identifiers import new_id
from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Client, Recipient, Submission
from postroad_common.tokens import Keyring, LinkSigner
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.composing.rules import Rules
from postroad_transformer.signing.keys import SigningKey

BASE = "https://track.example.com"
NOW = 1_780_000_000.0
ALL = Features(
    inlinecss=True, clicktracking=True, openstracking=True, preventscam=True, bouncetracking=True
)


@pytest.fixture
def everything() -> Features:
    return ALL


@pytest.fixture
def links() -> LinkSigner:
    return LinkSigner(Keyring(["a secret of sufficient length"]), BASE)


@pytest.fixture
def rules() -> Rules:
    return Rules(HeaderRules("mail.example.net"), BASE)


@pytest.fixture
def make_submission() -> Callable[..., Submission]:
    def make(*addresses: str, features: Features = ALL, **values: Any) -> Submission:
        recipients = tuple(
            Recipient(id=new_id(NOW), address=address)
            for address in addresses or ("reader@destination.test",)
        )
        defaults: dict[str, Any] = {
            "id": new_id(NOW),
            "account": "main",
            "credential": "login",
            "source": "smtp",
            "received": NOW,
            "envelope": "sender@example.com",
            "recipients": recipients,
            "features": features,
            "expires": NOW + 86400,
            "client": Client(ip="192.0.2.7", helo="app.example.com", tls="TLSv1.3"),
            "size": 0,
        }
        return Submission(**(defaults | values))

    return make


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    return SigningKey("example.com", "r1", generate_private_key(65537, 2048))


@pytest.fixture(scope="session")
def ed25519_key() -> SigningKey:
    return SigningKey("example.com", "e1", Ed25519PrivateKey.generate())
