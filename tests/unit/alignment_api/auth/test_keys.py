"""Keys are shown once, kept as hashes, and end when they are told to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from alignment_api.auth.access import AccessControl
from alignment_api.auth.keys import PREFIX, KeyRepository, Scope
from alignment_api.auth.rate import RateLimiter
from alignment_api.errors import (
    DuplicateError,
    InsufficientScopeError,
    InvalidKeyError,
    KeyNotFoundError,
    RateLimitError,
)
from alignment_api.store import Store
from alignment_api.store.tables import api_keys
from essa.errors import SpecError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'store.sqlite3'}")


@pytest.fixture
def keys(store: Store) -> KeyRepository:
    return KeyRepository(store)


def access(keys: KeyRepository, **given: object) -> AccessControl:
    return AccessControl(keys, **{"is_on": True, "limiter": None, **given})


def test_the_store_has_nothing_from_which_a_key_could_be_read(
    store: Store, keys: KeyRepository
) -> None:
    made = keys.add("laptop", [Scope.READ], keys.ensure_project())
    row = dict(store.read(sa.select(api_keys))[0])
    assert made.secret.startswith(PREFIX)
    assert not any(made.secret[5:] in str(value) for value in row.values())
    shown = row["hint"].removeprefix(PREFIX).replace("…", "")
    assert len(shown) == 6


def test_a_valid_key_names_its_project_and_scopes(keys: KeyRepository) -> None:
    project_id = keys.add_project("team")["id"]
    made = keys.add("laptop", [Scope.SUBMIT, Scope.READ], project_id)
    caller = access(keys).caller(f"Bearer {made.secret}", "127.0.0.1")
    assert caller.project_id == project_id
    assert caller.project == "team"
    assert caller.scopes == {Scope.READ, Scope.SUBMIT}
    caller.require(Scope.READ, "reading")
    with pytest.raises(InsufficientScopeError, match="POST /v1/x needs `admin`"):
        caller.require(Scope.ADMIN, "POST /v1/x")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer essa-unknown", "Bearer sk-other"]
)
def test_everything_but_a_known_bearer_key_is_refused(keys: KeyRepository, header: str) -> None:
    keys.add("laptop", [Scope.READ], keys.ensure_project())
    with pytest.raises(InvalidKeyError):
        access(keys).caller(header, "127.0.0.1")


def test_a_revoked_or_expired_key_is_refused(keys: KeyRepository) -> None:
    project_id = keys.ensure_project()
    revoked = keys.add("old", [Scope.READ], project_id)
    expired = keys.add("older", [Scope.READ], project_id, expires_at=time.time() - 1)
    control = access(keys)
    control.caller(f"Bearer {revoked.secret}", "127.0.0.1")
    first = keys.revoke(revoked.row["id"])["revoked_at"]
    assert keys.revoke(revoked.row["id"])["revoked_at"] == first
    control.forget()
    for made in (revoked, expired):
        with pytest.raises(InvalidKeyError, match="unknown, revoked or expired"):
            control.caller(f"Bearer {made.secret}", "127.0.0.1")


def test_with_keys_off_everybody_is_the_default_project(keys: KeyRepository) -> None:
    caller = access(keys, is_on=False).caller("", "127.0.0.1")
    assert caller.project_id == keys.project_named("default")["id"]
    assert caller.scopes == set(Scope)
    assert keys.is_empty()


def test_a_project_name_is_taken_once(keys: KeyRepository) -> None:
    keys.add_project("team")
    with pytest.raises(DuplicateError, match="'team'"):
        keys.add_project("team")
    assert keys.ensure_project("team") == keys.project_named("team")["id"]


def test_a_key_without_scopes_or_an_unknown_key_is_an_error(keys: KeyRepository) -> None:
    with pytest.raises(SpecError, match="read, submit, code, admin"):
        keys.add("nothing", [], keys.ensure_project())
    with pytest.raises(KeyNotFoundError, match="key_1"):
        keys.revoke("key_1")


def test_a_bucket_lets_a_burst_through_and_then_the_long_run_rate() -> None:
    now = [0.0]
    limiter = RateLimiter(60, burst=3, now_s=lambda: now[0])
    assert [limiter.wait_s("a") for _ in range(4)] == [0, 0, 0, 1]
    assert limiter.wait_s("b") == 0
    now[0] = 1.0
    assert [limiter.wait_s("a") for _ in range(2)] == [0, 1]
    now[0] = 100.0
    assert [limiter.wait_s("a") for _ in range(4)] == [0, 0, 0, 1]


def test_too_many_requests_say_when_to_come_back(keys: KeyRepository) -> None:
    made = keys.add("laptop", [Scope.READ], keys.ensure_project())
    control = access(keys, limiter=RateLimiter(60, burst=2))
    header = f"Bearer {made.secret}"
    control.caller(header, "127.0.0.1")
    control.caller(header, "127.0.0.1")
    with pytest.raises(RateLimitError, match="ESSA_REQUESTS_PER_MINUTE") as caught:
        control.caller(header, "127.0.0.1")
    assert caught.value.detail["retry_after_s"] == 1


def test_wrong_keys_are_counted_by_address(keys: KeyRepository) -> None:
    control = access(keys, limiter=RateLimiter(60, burst=2))
    for _ in range(2):
        with pytest.raises(InvalidKeyError):
            control.caller("Bearer essa-guess", "10.0.0.1")
    with pytest.raises(RateLimitError):
        control.caller("Bearer essa-guess", "10.0.0.1")
    with pytest.raises(InvalidKeyError):
        control.caller("Bearer essa-guess", "10.0.0.2")
