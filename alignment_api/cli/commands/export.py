"""`essa export`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignment_api.cli.flags import DEFAULT_SERVER, Home, Key, Server
from essa.errors import AdapterError, EssaError, SpecError

if TYPE_CHECKING:
    from alignment_api.cli.client import ApiClient
    from essa.spec.export import ExportSpec

_POLL_S = 1.0


def run(
    source: str,
    /,
    *,
    out: Path,
    format: str = "adapter",
    precision: str | None = None,
    checkpoint: str | None = None,
    force: bool = False,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
    home: Home = None,
) -> int:
    """Export the aligned model of a job, or of a run's folder.

    Args:
        source: A job of the service, or the folder of a run.
        out: Folder to write.
        format: Format adapter (for PEFT), merged, or quantized with the adapter beside it.
        precision: Precision of quantized: int8 (default) or int4; of merged: fp32 keeps all digits.
        checkpoint: Generation to export instead of the selected one.
        force: Replace existing files.
    """
    from alignment_api.doctor.preflight import require_folder

    wanted = _wanted(format=format, precision=precision, checkpoint=checkpoint)
    _check_target(out, force)
    require_folder(out, "--out")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    run_dir = Path(source).expanduser()
    # The files are written beside the target, so that a failure never leaves half a model there.
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".essa-") as name:
        content = Path(name) / "content"
        content.mkdir()
        try:
            if run_dir.is_dir():
                _write(run_dir, wanted, content, home)
            else:
                _download(source, wanted, content, server, key)
        except OSError as error:
            raise EssaError(f"the export cannot be written beside {out}: {error}") from error
        _move(content, out)
    print(f"{wanted} of {source} lies in {out}; its README.md says how to serve it")
    return 0


def _wanted(**given: str | None) -> ExportSpec:
    from pydantic import ValidationError

    from essa.spec.export import ExportSpec
    from essa.spec.reading.problem import problems_of

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


def _write(run_dir: Path, wanted: ExportSpec, content: Path, home: Path | None) -> None:
    from alignment_api import composition
    from alignment_api.settings import Settings

    settings = Settings.from_environment(os.environ, home=home)
    composition.write_export(run_dir, wanted, content, cache_dir=settings.cache_dir, progress=_say)


def _download(job_id: str, wanted: ExportSpec, content: Path, server: str, key: str | None) -> None:
    from alignment_api.cli.client import ApiClient
    from essa.spec.export import ExportFormat

    archive = content.with_name("export.zip")
    with ApiClient(server, key) as client:
        if wanted.format is not ExportFormat.ADAPTER:
            _wait(client, job_id, client.order_export(job_id, wanted))
        client.fetch_export(job_id, wanted, archive)
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(content)
    except zipfile.BadZipFile as error:
        raise AdapterError(f"the service's answer is not a zip file: {error}") from error


def _wait(client: ApiClient, job_id: str, export: dict[str, Any]) -> None:
    from alignment_api.errors import ApiRequestError

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
    # Weight files of an earlier export, under other names, would be loaded with the new ones.
    for stale in target.glob("*.safetensors*"):
        stale.unlink()
    for path in sorted(content.iterdir()):
        place = target / path.name
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(path, place)
