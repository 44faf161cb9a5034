"""Identify the caller of a request and check what it may do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from alignment_api.auth.keys import PREFIX, KeyRepository, Scope
from alignment_api.auth.rate import RateLimiter
from alignment_api.errors import InsufficientScopeError, InvalidKeyError, RateLimitError
from alignment_api.settings import Settings

_REMEMBERED_S = 5.0
"""Seconds that a key's lookup is cached, and so for how long a revoked key may still work."""
_REMEMBERED_KEYS = 10_000


class Caller(NamedTuple):
    """The sender of a request."""

    project_id: str
    key_id: str | None
    """Id of the caller's key; None if the service runs without keys."""
    name: str
    scopes: frozenset[Scope]
    project: str
    hint: str | None = None

    def require(self, scope: Scope, what: str) -> None:
        """Check a scope that depends on the content of the request.

        Raises:
            InsufficientScopeError: the key does not have the scope.
        """
        if scope not in self.scopes:
            raise InsufficientScopeError(
                f"the key {self.hint} has the scopes {', '.join(sorted(self.scopes))}, and {what} "
                f"needs `{scope}`; ask an admin for a key that has it"
            )


class AccessControl:
    """Turns the `Authorization` header into a caller. Thread-safe.

    Args:
        keys: the stored API keys.
        is_on: if False, every caller acts for the default project with every scope.
        limiter: limits each key's requests; None sets no limit.
    """

    def __init__(self, keys: KeyRepository, *, is_on: bool, limiter: RateLimiter | None) -> None:
        self._keys = keys
        self._limiter = limiter
        self._known: dict[str, tuple[float, Caller]] = {}
        self._everybody = None
        if not is_on:
            project_id = keys.ensure_project()
            self._everybody = Caller(project_id, None, "everybody", frozenset(Scope), "default")

    def caller(self, authorization: str, address: str) -> Caller:
        """Return the caller that sent this header, and count the request against its rate limit.

        Raises:
            InvalidKeyError: the key is missing or not valid.
            RateLimitError: too many requests with this key, or too many wrong keys from an address.
        """
        caller = self.identified(authorization, address)
        self._count(caller.key_id or address)
        return caller

    def identified(self, authorization: str, address: str) -> Caller:
        """Return the caller, as `caller` does, but count no request for a valid key.

        Raises:
            InvalidKeyError, RateLimitError: see `caller`; only a wrong key is counted here.
        """
        if self._everybody is not None:
            return self._everybody
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise InvalidKeyError(
                "no API key was sent; send the header `Authorization: Bearer KEY`. `essa serve` "
                "prints the first key when it starts, and `essa keys add` makes more"
            )
        known = self._known.get(secret)
        if known is not None and time.monotonic() - known[0] < _REMEMBERED_S:
            return known[1]
        row = self._keys.find(secret) if secret.startswith(PREFIX) else None
        if row is None:
            self._known.pop(secret, None)
            self._count(f"wrong key from {address}")
            raise InvalidKeyError(
                f"the API key {secret[:8]}… is not valid here: it is unknown, revoked or expired"
            )
        caller = Caller(
            row["project_id"],
            row["id"],
            row["name"],
            frozenset(Scope(scope) for scope in row["scopes"].split()),
            row["project"],
            row["hint"],
        )
        if len(self._known) >= _REMEMBERED_KEYS:
            self._known.clear()
        self._known[secret] = (time.monotonic(), caller)
        return caller

    def forget(self) -> None:
        """Empty the cache of looked-up keys, because one was revoked."""
        self._known.clear()

    def _count(self, who: str) -> None:
        wait_s = self._limiter.wait_s(who) if self._limiter is not None else 0.0
        if wait_s > 0:
            raise RateLimitError(
                f"too many requests: more than ESSA_REQUESTS_PER_MINUTE; wait {wait_s:.0f} s",
                retry_after_s=wait_s,
            )


def open_access(
    settings: Settings, keys: KeyRepository, on_first_key: Callable[[str], None] | None
) -> AccessControl:
    """Set up access control from the settings; make the first key if there is none.

    Args:
        settings: the service's settings.
        keys: the keys in its store.
        on_first_key: called with the first key; if None, no key is made.
    """
    project_id = keys.ensure_project()
    if settings.auth == "on" and on_first_key is not None and keys.is_empty():
        on_first_key(keys.add("first", list(Scope), project_id).secret)
    if settings.auth == "off":  # a single user on loopback: nobody to protect from
        return AccessControl(keys, is_on=False, limiter=None)
    limiter = RateLimiter(settings.requests_per_minute, settings.request_burst)
    return AccessControl(keys, is_on=True, limiter=limiter)


def allow(scope: Scope | str) -> Callable[[Request], Caller]:
    """Make a FastAPI dependency that returns the caller and requires a scope."""
    needed = Scope(scope)

    def dependency(request: Request) -> Caller:
        address = request.client.host if request.client else "unknown"
        caller = request.app.state.access.caller(request.headers.get("authorization", ""), address)
        # The access log and the audit trail read it.
        request.state.caller = caller
        caller.require(needed, f"{request.method} {request.url.path}")
        return caller

    return dependency


Reader = Annotated[Caller, Depends(allow(Scope.READ))]
Submitter = Annotated[Caller, Depends(allow(Scope.SUBMIT))]
Admin = Annotated[Caller, Depends(allow(Scope.ADMIN))]
