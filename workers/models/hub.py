"""Models named by their Hugging Face hub name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from essa.errors import MachineError, SpecError
from essa.hub_access import hub_fault, is_offline, require_hub
from essa.storage.faults import writing

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

WANTED = (
    "*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*", "NOTICE*"
)  # fmt: skip
"""Patterns of the files to fetch: weights in safetensors only, and the licence."""

Progress = Callable[[str], None]


def is_hub_name(path: str) -> bool:
    """Return whether `path` could be a hub name: `name` or `owner/name`."""
    return _HUB_NAME.fullmatch(path) is not None


def download_snapshot(
    name: str, revision: str | None, progress: Progress, *, with_code: bool = False
) -> Path:
    """Fetch a model from the hub, or find it in the hub's local cache.

    Args:
        with_code: fetch the model's Python files too.
    Raises:
        SpecError: the hub does not know the model.
        MachineError: the hub cannot be reached and the model is not in its cache.
        StorageError: there is no room for the model, or its cache cannot be written.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    progress(f"fetching {name}")
    wanted: list[str] = [*WANTED, "*.py"] if with_code else [*WANTED]
    try:
        # The hub's client waits minutes for a network that drops packets, even for a cached model.
        is_reachable = is_offline() or hub_fault() is None
        if not is_reachable:
            require_hub(name)
        with writing(Path(constants.HF_HUB_CACHE), "HF_HOME"):
            return Path(
                snapshot_download(
                    name,
                    revision=revision,
                    allow_patterns=wanted,
                    local_files_only=not is_reachable,
                )
            )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise MachineError(
            f"model.path is '{name}', which is not in the hub's cache {constants.HF_HUB_CACHE}, "
            f"and {constants.ENDPOINT} cannot be reached: {_first_line(error)}; connect this "
            "machine (HTTPS_PROXY names a proxy, HF_ENDPOINT another hub), or set model.path to a "
            "folder",
            field="model.path",
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise SpecError(
            f"model.path is '{name}': there is no such folder here, and the hub gave no such "
            f"model ({_first_line(error)}); check the name and model.revision, or set model.path "
            "to a folder",
            field="model.path",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
