"""The files that make up a Hugging Face model folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from essa.errors import SpecError

if TYPE_CHECKING:
    import torch

SIDE_SUFFIXES = (".json", ".txt", ".model", ".jinja")
"""Configuration and tokenizer files, next to the weights."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")

INDEX_FILE = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """Return the model's safetensors files, in order of name."""
    return sorted(folder.glob("*.safetensors"))


def weight_bytes(folder: Path) -> int:
    """Return the size of the model's safetensors files."""
    return sum(file.stat().st_size for file in weight_files(folder))


def side_files(folder: Path) -> list[Path]:
    """Return configuration and tokenizer files, in order of name, without the weights' index."""
    files = (file for file in folder.iterdir() if file.suffix in SIDE_SUFFIXES and file.is_file())
    return sorted(file for file in files if file.name != INDEX_FILE)


def copy_side_files(source: Path, target: Path) -> None:
    """Copy configuration and tokenizer to another folder."""
    for file in side_files(source):
        shutil.copyfile(file, target / file.name)


class WeightReader:
    """Reads single tensors of a model folder, from whichever file holds them."""

    def __init__(self, folder: Path) -> None:
        """Look up which file holds which tensor."""
        from safetensors import safe_open

        self._files: dict[str, Path] = {}
        for file in weight_files(folder):
            with safe_open(file, framework="pt") as source:
                self._files.update(dict.fromkeys(source.keys(), file))

    def __contains__(self, name: str) -> bool:
        """Return whether the folder holds a tensor of this name."""
        return name in self._files

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all tensors, file by file; no weights are read."""
        from safetensors import safe_open

        found: dict[str, tuple[int, ...]] = {}
        for file in dict.fromkeys(self._files.values()):
            with safe_open(file, framework="pt") as source:
                names = source.keys()
                found |= {name: tuple(source.get_slice(name).get_shape()) for name in names}
        return found

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as source:
            return source.get_tensor(name)


def check_folder(folder: Path, path: str) -> None:
    """Check that `folder` holds a complete model in Hugging Face format.

    Args:
        folder: the folder to look into.
        path: `model.path` as the user wrote it, for the message.

    Raises:
        SpecError: the configuration, the weights or the tokenizer is missing.
    """
    missing = []
    if not (folder / "config.json").is_file():
        missing.append("config.json")
    if not weight_files(folder):
        missing.append("*.safetensors weights")
    missing.extend(_missing_shards(folder))
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        missing.append(f"a tokenizer ({' or '.join(TOKENIZER_FILES)})")
    if missing:
        raise SpecError(
            f"model.path is '{path}' but {folder} has no {' and no '.join(missing)}; set "
            "model.path to a model saved with save_pretrained, tokenizer included",
            field="model.path",
        )


def _missing_shards(folder: Path) -> list[str]:
    """Return missing weight files that the index names: an interrupted download or copy."""
    index = folder / INDEX_FILE
    if not index.is_file():
        return []
    named = set(json.loads(index.read_text())["weight_map"].values())
    return sorted(name for name in named if not (folder / name).is_file())
