"""Find the configuration of a base model on this machine; nothing is downloaded."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from essa.types import is_dict

_CONFIG = "config.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?")


def base_config(path: str, cache_dir: Path) -> dict[str, Any] | None:
    """Return the configuration of a base model; None if it is not on this machine."""
    for place in _config_places(path, cache_dir):
        try:
            found = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if is_dict(found):
            return found
    return None


def _config_places(path: str, cache_dir: Path) -> list[Path]:
    places = [Path(path).expanduser() / _CONFIG]
    name = path.removeprefix("package:").rstrip("/")
    if _PLAIN_NAME.fullmatch(name):
        # The cache keeps a prepared base in a folder whose name starts with the model's name.
        short = name.rpartition("/")[2]
        places += sorted(cache_dir.glob(f"models/{short}-bf16-*/{_CONFIG}"))
        hub = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
        places += sorted(hub.glob(f"models--{name.replace('/', '--')}/snapshots/*/{_CONFIG}"))
    return places
