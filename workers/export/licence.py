"""The licence that a base model comes with, as far as its own files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from essa.spec.model import ModelSpec
from workers.models.package_model import find_gguf, is_package_path, read_metadata

LICENCE_FILES = ("LICEN[CS]E*", "NOTICE*", "USE_POLICY*")


class Licence(NamedTuple):
    """`name` is the identifier its files give, or None; `files` are its texts in the folder."""

    name: str | None
    link: str | None
    files: tuple[str, ...]


def base_licence(model: ModelSpec, folder: Path) -> Licence:
    """Look in the model card of the folder, its configuration, and the GGUF it was made from."""
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
    """Licence texts of a model folder, in order of name."""
    found = {path for pattern in LICENCE_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(found)


def _front_matter(path: Path) -> dict[str, Any]:
    """The YAML between two lines of dashes at the head of a model card."""
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
