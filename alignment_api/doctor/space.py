"""Folders that the service and its engines write to: writable, and with room."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from alignment_api.doctor.finding import Finding, failure, ok, warning
from essa.storage.faults import existing, free_bytes, readable

if TYPE_CHECKING:
    from alignment_api.settings import Settings

_MIB = 2**20
_GIB = 2**30
_FOR_SERVICE = 64 * _MIB
_FOR_MODELS = 2 * _GIB
_COMFORTABLE = 10 * _GIB
_FOR_TEMPORARY = 64 * _MIB
_RAY = Path("/tmp")  # Ray's default folder of logs and sockets


def check_home(settings: Settings) -> Iterator[Finding]:
    """Check whether this user can write to the home, and how much room it has."""
    home = settings.home
    found = list(check_writable("home", home, "ESSA_HOME"))
    yield from found
    if found:
        return
    foreign = [path for path in home.glob("*") if not os.access(path, os.W_OK)]
    if foreign:
        seen = f"{foreign[0]} cannot be written by {_user()}"
        yield failure("home", seen, _other_folder(existing(home), "ESSA_HOME"))
        return
    yield ok("home", str(home) if home.exists() else f"{home}, to be made on the first start")
    free = free_bytes(home)
    seen = f"{free / _GIB:.1f} GiB free at {existing(home)}"
    need = "models and runs take gigabytes; free some, or move ESSA_HOME"
    if free < _FOR_MODELS:
        yield failure("disk", seen, need)
    elif free < _COMFORTABLE:
        yield warning("disk", seen, need)
    else:
        yield ok("disk", seen)


def check_writable(check: str, folder: Path, knob: str) -> Iterator[Finding]:
    """Yield a failure if a folder cannot be created or written, or has next to no room."""
    place = existing(folder)
    if not place.is_dir():
        yield failure(check, f"{place} is no folder", f"set {knob} to a folder")
        return
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        seen = f"{place} cannot be written: {error.strerror}"
        yield failure(check, seen, _other_folder(place, knob, error.errno))
        return
    free = free_bytes(place)
    if free < _FOR_SERVICE:
        seen = (
            f"the disk of {place} is full: {readable(free)} free, {readable(_FOR_SERVICE)} needed"
        )
        yield failure(check, seen, f"free some space there, or set {knob} to another disk")


def check_temporary() -> Iterator[Finding]:
    """Check the temporary folders: Python's and Ray's, often the same."""
    ray = Path(os.environ.get("RAY_TMPDIR") or _RAY)
    try:
        own = Path(tempfile.gettempdir())
    except FileNotFoundError as error:  # Python has tried to write into each of them
        advice = "set TMPDIR to a folder that can be written and has room"
        yield failure("temporary files", f"{error.strerror}", advice)
        return
    for place, knob in {own: "TMPDIR", ray: "RAY_TMPDIR"}.items():
        found = list(check_writable("temporary files", place, knob))
        yield from found or [ok("temporary files", f"{place}, {readable(free_bytes(place))} free")]


def _other_folder(place: Path, knob: str, number: int | None = None) -> str:
    cure = {
        errno.EROFS: "mount it so that it can be written",
        errno.ENOSPC: "free some space there",
        errno.EDQUOT: "free some of your quota",
    }.get(number or errno.EACCES, f"`chown -R {_user()} {place}`")
    return f"{cure}, or set {knob} to a folder that {_user()} may write"


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user may have no name, only a number
        return str(os.geteuid())
