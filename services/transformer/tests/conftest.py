"""Shared by the transformer's tests: submissions, rules, keys, and mails."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Client, Submission
from postroad_common.tokens import Keyring, LinkSigner
from postroad_testing import factories
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
        defaults: dict[str, Any] = {
            "account": "main",
            "received": NOW,
            "envelope": "sender@example.com",
            "expires": NOW + 86400,
            "client": Client(ip="192.0.2.7", helo="app.example.com", tls="TLSv1.3"),
            "size": 0,
        }
        to = addresses or ("reader@destination.test",)
        return factories.submission(*to, features=features, **(defaults | values))

    return make


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    return SigningKey("example.com", "r1", generate_private_key(65537, 2048))


@pytest.fixture(scope="session")
def ed25519_key() -> SigningKey:
    return SigningKey("example.com", "e1", Ed25519PrivateKey.generate())
