"""Models named by their Hugging Face hub name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from essa.errors import SpecError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

WANTED = (
    "*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*", "NOTICE*"
)  # fmt: skip
"""Patterns of the files to fetch: no other weight formats, but what tells the licence."""

Progress = Callable[[str], None]


def is_hub_name(path: str) -> bool:
    """True where `path` could be a hub name: `name` or `owner/name`."""
    return _HUB_NAME.fullmatch(path) is not None


def download_snapshot(
    name: str, revision: str | None, progress: Progress, *, with_code: bool = False
) -> Path:
    """Fetch a model from the hub, or find it in the hub's local cache.

    Args:
        with_code: fetch its Python files too.
    Raises:
        SpecError: the hub does not know the model, or it can neither be reached nor is cached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    progress(f"fetching {name}")
    wanted = [*WANTED, "*.py"] if with_code else list(WANTED)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SpecError(
            f"model.path is '{name}': there is no such folder here, and the hub gave no such "
            f"model ({first_line}); check the name and model.revision, or set model.path to a "
            "folder",
            field="model.path",
        ) from error
