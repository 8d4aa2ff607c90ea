"""SMTP logins as the API and the dashboard change them: passwords made, hashed and told once."""

import asyncio
from collections.abc import Mapping
from typing import Any

from postroad_common.mail.control import FEATURE_NAMES
from postroad_common.schemas.features import Features
from postroad_common.secrets import hash_password, new_password, new_username
from postroad_common.store.credentials import Credential, Credentials
from postroad_ingress_http.http.errors import bad_field, not_found


def merge_features(base: Features, wanted: Mapping[str, bool]) -> Features:
    """Return `base` with the features in `wanted`, under any of their names.

    Raises:
        ApiError: 400, there is no such feature.
    """
    changes = {}
    for name, value in wanted.items():
        feature = FEATURE_NAMES.get(name.lower())
        if feature is None:
            known = ", ".join(Features.model_fields)
            raise bad_field(f"features.{name}", f"There is no such feature; there are {known}.")
        changes[feature] = value
    return base.overridden(changes)


async def create(
    store: Credentials, account: str, name: str, features: Features, **more: Any
) -> tuple[Credential, str]:
    """Create a login; return it with its password, which is kept nowhere."""
    password = new_password()
    login = await store.create(
        account=account,
        username=new_username(),
        password_hash=await asyncio.to_thread(hash_password, password),
        name=name,
        features=features,
        **more,
    )
    return login, password


async def rotate(store: Credentials, account: str, username: str) -> tuple[Credential, str]:
    """Replace the password of the login; return both.

    Raises:
        ApiError: 404.
    """
    password = new_password()
    hashed = await asyncio.to_thread(hash_password, password)
    login = await store.rotate(account, username, hashed)
    if login is None:
        raise not_found("login")
    return login, password


async def change(
    store: Credentials, account: str, username: str, changes: Mapping[str, Any]
) -> Credential:
    """Change the login and return it; `features` may name some of them only.

    Raises:
        ApiError: 400, 404.
    """
    values = {key: value for key, value in changes.items() if value is not None}
    if "features" in values:
        old = await store.get(account, username)
        if old is None:
            raise not_found("login")
        values["features"] = merge_features(old.features, values["features"])
    login = await store.update(account, username, values)
    if login is None:
        raise not_found("login")
    return login
