"""Base models in the cache."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from essa.spec.engine import Precision

MANIFEST = "essa_prepared.manifest"
"""File that the workers write last into a complete folder; see `workers/models/cache.py`."""

_NAME = re.compile(r".+-(bf16|int8|int4)(-.*)?-[0-9a-f]{16}")


class CachedBase(NamedTuple):
    """A folder of the cache."""

    folder: Path
    precision: Precision
    created: int


def cached_bases(cache_dir: Path) -> Iterator[CachedBase]:
    """Yield the cache's complete language models, by name. Reward models are skipped."""
    for folder in sorted((cache_dir / "models").glob("*")):
        found = _NAME.fullmatch(folder.name)
        if found is not None and (folder / MANIFEST).is_file() and _is_causal(folder):
            created = int((folder / MANIFEST).stat().st_mtime)
            yield CachedBase(folder, Precision(found[1]), created)


def _is_causal(folder: Path) -> bool:
    try:
        names = json.loads((folder / "config.json").read_text()).get("architectures") or ()
    except (OSError, ValueError):
        return False
    return any(name.endswith("ForCausalLM") for name in names)
