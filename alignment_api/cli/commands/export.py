"""`essa export`."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignment_api import composition
from alignment_api.cli.client import ApiClient
from alignment_api.doctor.preflight import require_folder
from alignment_api.errors import ApiRequestError
from alignment_api.settings import Settings
from essa.errors import AdapterError, EssaError, SpecError
from essa.spec.export import ExportFormat, ExportSpec
from essa.spec.reading.problem import problems_of

_POLL_S = 1.0


def run(arguments: argparse.Namespace) -> int:
    """Fill a folder with an export of a job of the service, or of a run's folder."""
    wanted = _wanted(arguments)
    target: Path = arguments.out
    _check_target(target, arguments.force)
    require_folder(target, "--out")
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    # Filled beside its place, so that what breaks off never leaves half a model.
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".essa-") as name:
        content = Path(name) / "content"
        content.mkdir()
        try:
            _fill(arguments, wanted, content)
        except OSError as error:
            raise EssaError(f"the export cannot be written beside {target}: {error}") from error
        _move(content, target)
    print(f"{wanted} of {arguments.source} lies in {target}; its README.md says how to serve it")
    return 0


def _wanted(arguments: argparse.Namespace) -> ExportSpec:
    given = {name: getattr(arguments, name) for name in ("format", "precision", "checkpoint")}
    try:
        return ExportSpec.model_validate(given)
    except ValidationError as error:
        lines = [str(problem) for problem in problems_of(error.errors(), given)]
        raise SpecError("\n".join(lines)) from error


def _check_target(target: Path, is_replacing: bool) -> None:
    if target.exists() and not target.is_dir():
        raise SpecError(f"--out {target} is a file; name a folder")
    if target.is_dir() and any(target.iterdir()) and not is_replacing:
        raise SpecError(f"--out {target} is not empty; name another folder, or add --force")


def _fill(arguments: argparse.Namespace, wanted: ExportSpec, content: Path) -> None:
    run_dir = Path(arguments.source).expanduser()
    if not run_dir.is_dir():
        with ApiClient(arguments.server, arguments.key) as client:
            _download(client, arguments.source, wanted, content)
        return
    settings = Settings.from_environment(os.environ, home=arguments.home)
    composition.write_export(run_dir, wanted, content, cache_dir=settings.cache_dir, progress=_say)


def _download(client: ApiClient, job_id: str, wanted: ExportSpec, content: Path) -> None:
    if wanted.format is not ExportFormat.ADAPTER:
        _wait(client, job_id, client.order_export(job_id, wanted))
    archive = content.with_name("export.zip")
    client.fetch_export(job_id, wanted, archive)
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(content)
    except zipfile.BadZipFile as error:
        raise AdapterError(f"the service's answer is not a zip file: {error}") from error


def _wait(client: ApiClient, job_id: str, export: dict[str, Any]) -> None:
    shown = None
    while export["status"] in ("queued", "running"):
        if export["status"] != shown:
            shown = export["status"]
            _say(f"the export is {shown}")
        time.sleep(_POLL_S)
        found = [one for one in client.exports(job_id) if one["id"] == export["id"]]
        if not found:
            raise ApiRequestError(f"the service has lost the export {export['id']}; try again")
        export = found[0]
    if export["status"] != "succeeded":
        reason = (export["error"] or {}).get("message", "no reason given")
        raise ApiRequestError(f"the export has {export['status']}: {reason}")


def _say(line: str) -> None:
    print(line, flush=True)


def _move(content: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    # Weight files of an earlier export, under other names, would be loaded with these.
    for stale in target.glob("*.safetensors*"):
        stale.unlink()
    for path in sorted(content.iterdir()):
        place = target / path.name
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(path, place)
