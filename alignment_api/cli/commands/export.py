"""`essa export`."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from alignment_api.cli.client import ApiClient
from essa.errors import AdapterError, SpecError


def run(arguments: argparse.Namespace) -> int:
    """Unpack the adapter of a finished job into a folder."""
    folder: Path = arguments.folder
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not arguments.force:
        raise SpecError(f"{folder} is not empty; name another folder, or replace with --force")
    folder.mkdir(parents=True, exist_ok=True)
    # Unpacked beside its place, so that a broken download never leaves half an adapter.
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".essa-") as name:
        scratch = Path(name)
        archive = scratch / "adapter.zip"
        with ApiClient(arguments.server, arguments.key) as client:
            client.fetch_adapter(arguments.job_id, archive)
        _unpack(archive, scratch / "adapter")
        for path in sorted((scratch / "adapter").iterdir()):
            _replace(path, folder / path.name)
    print(f"the adapter of {arguments.job_id} lies in {folder}")
    return 0


def _unpack(archive: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(target)
    except zipfile.BadZipFile as error:
        raise AdapterError(f"the service's answer is not a zip file: {error}") from error


def _replace(path: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(path, target)
