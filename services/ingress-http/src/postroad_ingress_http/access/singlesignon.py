"""Logging in by OpenID Connect: the code flow with PKCE, with the one issuer of the settings.

The ID token says once which address its holder has proved to have. Its signature, issuer, audience,
times and nonce are checked by Authlib and joserfc. It is kept with the session for nothing but to
tell the issuer which of its sessions is to end (RP-Initiated Logout 1.0); no other token is kept.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from postroad_ingress_http.access.identity import (
    ATTEMPT_SECONDS,
    IdentityProvider,
    SignedOn,
    SignOnAttempt,
)
from postroad_ingress_http.http.errors import ApiError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures that are taken: none that the client's secret, or nothing at all, could make."""
_KNOWN_SECONDS = 3600.0
_FRESH_SECONDS = 30.0  # keys younger than this are not asked for again
_LEEWAY_SECONDS = 60
_TIMEOUT_SECONDS = 5.0
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_END_SESSION = "end_session_endpoint"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the issuer has told of itself, and when."""

    endpoints: Mapping[str, str]
    keys: KeySet
    read: float


class SingleSignOn:
    """Sends visitors to the issuer and reads what they come back with; `clock`: Unix seconds."""

    def __init__(self, provider: IdentityProvider, clock: Callable[[], float]) -> None:
        self.provider = provider
        self._clock = clock
        self._known: _Known | None = None

    async def begin(self, back: str, target: str) -> tuple[str, SignOnAttempt]:
        """Return where the visitor goes, and what is to be kept; `back` is our page for after.

        Raises:
            ApiError: 503, the issuer cannot be asked.
        """
        known = await self._ask(_KNOWN_SECONDS)
        attempt = SignOnAttempt(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            target=target,
            began=self._clock(),
        )
        url = prepare_grant_uri(
            known.endpoints["authorization_endpoint"],
            self.provider.client_id,
            "code",
            redirect_uri=back,
            scope=f"openid email {self.provider.rules.scope}".strip(),
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=create_s256_code_challenge(attempt.verifier),
            code_challenge_method="S256",
        )
        return str(url), attempt

    async def finish(self, attempt: SignOnAttempt, back: str, query: Mapping[str, str]) -> SignedOn:
        """Return who the visitor is, by what they came back with.

        Raises:
            ApiError: 403, something is not as it must be; 503, the issuer cannot be asked.
        """
        if not hmac.compare_digest(query.get("state", "").encode(), attempt.state.encode()):
            raise _refused("this answer belongs to another attempt")
        if self._clock() - attempt.began > ATTEMPT_SECONDS:
            raise _refused("it took too long")
        if query.get("iss", self.provider.issuer) != self.provider.issuer:
            raise _refused("the answer is another issuer's")
        if "error" in query:
            raise _refused(query.get("error_description") or query["error"])
        known = await self._ask(_KNOWN_SECONDS)
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=back,
            code=query.get("code", ""),
            code_verifier=attempt.verifier,
            client_id=self.provider.client_id,
        )
        told = await self._post(known.endpoints["token_endpoint"], str(body))
        id_token = str(told.get("id_token") or "")
        claims = await self._read(id_token, attempt.nonce)
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") not in {True, "true"}:
            raise _refused("no verified e-mail address was told")
        rules = self.provider.rules
        return SignedOn(email.lower(), rules.role_in(claims), rules.account, id_token)

    async def leave(self, back: str, id_token: str) -> str | None:
        """Return where a visitor ends the session at the issuer; None where it offers that not.

        They come back to `back` after that, if the issuer knows that page as ours.
        """
        try:
            known = await self._ask(_KNOWN_SECONDS)
        except ApiError:  # it cannot be asked: our own session is ended all the same
            return None
        if not known.endpoints[_END_SESSION]:
            return None
        told = {"client_id": self.provider.client_id, "post_logout_redirect_uri": back}
        hint = {"id_token_hint": id_token} if id_token else {}
        return str(add_params_to_uri(known.endpoints[_END_SESSION], [*told.items(), *hint.items()]))

    async def _read(self, token: str, nonce: str) -> Mapping[str, Any]:
        """Return what an ID token says that is the issuer's, for us and for this attempt."""
        provider = self.provider
        try:
            keys = (await self._ask(_KNOWN_SECONDS)).keys
            try:
                found = jwt.decode(token, keys, algorithms=ALGORITHMS)
            except InvalidKeyIdError:  # the issuer has new keys
                keys = (await self._ask(_FRESH_SECONDS)).keys
                found = jwt.decode(token, keys, algorithms=ALGORITHMS)
            claims = CodeIDToken(
                found.claims,
                found.header,
                options={
                    "iss": {"essential": True, "value": provider.issuer},
                    "aud": {"essential": True, "value": provider.client_id},
                    "nonce": {"essential": True, "value": nonce},
                },
                params={"nonce": nonce, "client_id": provider.client_id},
            )
            claims.validate(now=int(self._clock()), leeway=_LEEWAY_SECONDS)
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as error:
            raise _refused(f"its token is not right ({type(error).__name__}: {error})") from None
        return dict(claims)

    async def _ask(self, age: float) -> _Known:
        """Return what the issuer tells of itself, at most `age` seconds old."""
        now = self._clock()
        if self._known is not None and now - self._known.read < age:
            return self._known
        issuer = self.provider.issuer
        document = await self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise _away("it calls itself another issuer")
        endpoints = {name: str(document.get(name) or "") for name in _ENDPOINTS}
        scheme = urlsplit(issuer).scheme
        if any(urlsplit(url).scheme not in {"https", scheme} for url in endpoints.values()):
            raise _away("its end points are not under https")
        leaving = str(document.get(_END_SESSION) or "")
        endpoints[_END_SESSION] = leaving if urlsplit(leaving).scheme in {"https", scheme} else ""
        try:
            keys = KeySet.import_key_set(await self._get(endpoints["jwks_uri"]))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError):
            raise _away("its keys cannot be read") from None
        self._known = _Known(endpoints, keys, now)
        return self._known

    async def _get(self, url: str) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as client:
            try:
                return _object(await client.get(url))
            except httpx.HTTPError as error:
                raise _away(f"{type(error).__name__}") from None

    async def _post(self, url: str, body: str) -> dict[str, Any]:
        provider = self.provider
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        secret = provider.client_secret
        auth = httpx.BasicAuth(provider.client_id, secret) if secret else httpx.USE_CLIENT_DEFAULT
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as client:
            try:
                answer = await client.post(
                    url,
                    content=body,
                    headers=headers,
                    auth=auth,
                )
            except httpx.HTTPError as error:
                raise _away(f"{type(error).__name__}") from None
        if answer.status_code in {400, 401, 403}:
            raise _refused("it does not take the code")
        return _object(answer)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json() if answer.status_code == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _away(f"it answers with status {answer.status_code} and no JSON object")
    return found


def _refused(reason: str) -> ApiError:
    return ApiError(403, f"The sign-on did not work: {reason[:300]}.")


def _away(reason: str) -> ApiError:
    return ApiError(503, f"The identity provider cannot be asked: {reason[:300]}.")
