"""Settings, locks, error statuses and package owners."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from alignment_api import errors
from alignment_api.errors import HomeInUseError, status_of
from alignment_api.processes import ownership
from alignment_api.processes.folder_lock import FolderLock
from alignment_api.processes.ownership import PACKAGES, check_package_owners
from alignment_api.settings import Settings
from essa.errors import (
    CheckpointCorruptError,
    EngineTimeoutError,
    EssaError,
    JobConflictError,
    JobNotFoundError,
    PackageShadowedError,
    SpecError,
)
from reward.resources import NOTHING_ALLOWED


def test_settings_come_from_the_environment_and_arguments_win() -> None:
    environment = {
        "ESSA_HOME": "~/elsewhere",
        "ESSA_PORT": "9000",
        "ESSA_CANCEL_GRACE_S": "1.5",
        "ESSA_JOB_COMMAND": "python 'my job.py'",
        "ESSA_URL": "not a setting",
        "ESSA_HOST": "",
    }
    settings = Settings.from_environment(environment, port=9001, host=None)
    assert settings.home == Path.home() / "elsewhere"
    assert (settings.port, settings.host) == (9001, "127.0.0.1")
    assert settings.cancel_grace_s == 1.5
    assert settings.job_command == ("python", "my job.py")


def test_what_rewards_may_do_comes_from_the_environment() -> None:
    assert Settings.from_environment({}).reward_policy == NOTHING_ALLOWED
    environment = {
        "ESSA_REWARD_PYTHON": "true",
        "ESSA_REWARD_MODEL_CODE": "true",
        "ESSA_REWARD_HOSTS": "scores.example.org, localhost:9000",
        "ESSA_REWARD_SECRET_SCORER": "hush",
    }
    settings = Settings.from_environment(environment)
    policy = settings.reward_policy
    assert policy.allow_python
    assert policy.allow_model_code
    assert policy.allowed_hosts == ("scores.example.org", "localhost:9000")
    assert not policy.allow_private_hosts
    assert policy.secrets == {"scorer": "hush"}
    assert "hush" not in repr(settings) + repr(policy)


def test_an_unusable_variable_is_named_with_its_value() -> None:
    with pytest.raises(SpecError, match=r"ESSA_PORT is 'many'"):
        Settings.from_environment({"ESSA_PORT": "many"})


def test_a_lock_is_held_by_one_and_can_be_taken_after_release(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "a" / "lock"), FolderLock(tmp_path / "a" / "lock")
    first.acquire()
    first.acquire()
    with pytest.raises(HomeInUseError, match="in use by process"):
        second.acquire(wait_s=0.05)
    first.release()
    first.release()
    with second, pytest.raises(HomeInUseError):
        first.acquire()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SpecError, 400),
        (JobNotFoundError, 404),
        (errors.UploadedFileNotFoundError, 404),
        (JobConflictError, 409),
        (errors.StoreError, 503),
        (EngineTimeoutError, 500),
        (CheckpointCorruptError, 500),
    ],
)
def test_the_nearest_class_in_the_table_gives_the_status(
    error: type[EssaError], status: int
) -> None:
    assert status_of(error("message")) == status


def test_the_services_own_errors_survive_pickling() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, EssaError):
            copy = pickle.loads(pickle.dumps(kind("message", field="x")))
            assert (type(copy), copy.message, copy.detail) == (kind, "message", {"field": "x"})


def test_a_package_with_a_second_owner_is_reported_with_both_names() -> None:
    owners = {name: ["essa-service", "essa-service"] for name in PACKAGES}
    check_package_owners(owners)
    with pytest.raises(PackageShadowedError, match=r"`workers`.*essa-service.*workers-py"):
        check_package_owners(owners | {"workers": ["essa-service", "workers-py"]})


def test_a_package_found_elsewhere_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / "numpy-like"
    monkeypatch.setattr(ownership, "PACKAGES", ("numpy",))
    with pytest.raises(PackageShadowedError, match=r"take .* off PYTHONPATH"):
        check_package_owners({})
    monkeypatch.setattr(ownership, "PACKAGES", (shadow.name,))
    with pytest.raises(PackageShadowedError, match="is not found"):
        check_package_owners({})
