"""The licence of a base model, according to its own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from essa.spec.model import ModelSpec
from workers.models.package_model import find_gguf, is_package_path, read_metadata

LICENCE_FILES = ("LICEN[CS]E*", "NOTICE*", "USE_POLICY*")


class Licence(NamedTuple):
    """`name` is the licence's identifier in the model's files, or None; `files` are its texts."""

    name: str | None
    link: str | None
    files: tuple[str, ...]


def base_licence(model: ModelSpec, folder: Path) -> Licence:
    """Find the licence in the folder's model card and configuration, or in the original GGUF."""
    card = _front_matter(folder / "README.md")
    config = _json(folder / "config.json")
    name = card.get("license_name") or card.get("license") or config.get("license")
    if not name and is_package_path(model.path):
        name = read_metadata(find_gguf(model.path)).get("general.license")
    return Licence(
        str(name) if name else None,
        str(card["license_link"]) if card.get("license_link") else None,
        tuple(path.name for path in licence_files(folder)),
    )


def licence_files(folder: Path) -> list[Path]:
    """Return the licence texts of a model folder, sorted by name."""
    found = {path for pattern in LICENCE_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(found)


def _front_matter(path: Path) -> dict[str, Any]:
    """Return the YAML front matter of a model card: the part between two lines of dashes."""
    try:
        head, _, rest = path.read_text(encoding="utf-8").partition("\n")
        block, end, _ = rest.partition("\n---")
        content = yaml.safe_load(block) if head.strip() == "---" and end else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
