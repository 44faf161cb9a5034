"""Disks that are full and folders that cannot be written, as errors that name them and the cure."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from essa.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "disk is full")
"""What libraries in other languages say: their errors carry no number."""
_NEARLY_NOTHING = 16 * 2**20
_MIB = 2**20
_GIB = 2**30
_SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def writing(folder: Path, knob: str) -> Generator[None]:
    """Name the folder and the setting that moves it where a block cannot write there.

    Args:
        folder: where the block writes; it need not exist.
        knob: what chooses another folder, such as `ESSA_HOME`.
    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (*_FULL, *_CLOSED, errno.ENOTDIR, errno.EEXIST):
            raise storage_error(error, folder, knob) from error
        raise


def storage_error(error: OSError, folder: Path, knob: str) -> StorageError:
    """The sentence about a folder that refused something."""
    if error.errno in _FULL:
        return StorageError(no_room(folder, knob))
    place = Path(os.fsdecode(error.filename)) if error.filename else folder
    return StorageError(
        f"{place} cannot be written: {error.strerror}; set {knob} to a folder that user "
        f"{os.geteuid()} may write"
    )


def full_disk(error: BaseException, places: Sequence[Path] = ()) -> StorageError | None:
    """What a full disk has to do with an error; None where it has nothing to do with it.

    Args:
        error: any error; those that it came from are looked at too.
        places: folders that were in use. That of temporary files and shared memory are added.
    """
    causes = list(_causes(error))
    named = next((cause for cause in causes if isinstance(cause, StorageError)), None)
    if named is not None:
        return named
    full = next((cause for cause in causes if _says_full(cause)), None)
    if full is None:
        return None
    filename = getattr(full, "filename", None)
    if isinstance(filename, str | bytes):
        return StorageError(no_room(Path(os.fsdecode(filename)).parent, "another folder"))
    looked_at = [*places, Path(tempfile.gettempdir()), _SHARED_MEMORY]
    rooms = {place: free_bytes(place) for place in looked_at}
    # What broke off has perhaps put away its files already, so that nothing is full any more.
    exhausted = [place for place, free in rooms.items() if free < _NEARLY_NOTHING] or looked_at
    shown = ", ".join(f"{place} has {readable(rooms[place])} free" for place in exhausted)
    return StorageError(
        f"a disk is full ({shown}): {_first_line(full)}; free some space there, or choose another "
        "folder with ESSA_HOME, --run-dir, --out or TMPDIR"
    )


def refused(error: OSError) -> StorageError | None:
    """What a file says that this user may not reach; None for errors of another kind."""
    if error.errno not in _CLOSED or not error.filename:
        return None
    return StorageError(
        f"{os.fsdecode(error.filename)}: {error.strerror}; give user {os.geteuid()} access to it, "
        "or choose another folder with ESSA_HOME, --home, --run-dir, --out or TMPDIR"
    )


def require_room(folder: Path, needed_bytes: int, purpose: str, knob: str) -> None:
    """Refuse to begin what cannot be finished.

    Args:
        folder: where it is written; it need not exist.
        needed_bytes: least free space.
        purpose: what needs it.
        knob: what chooses another folder.
    Raises:
        StorageError: there is less.
    """
    if free_bytes(folder) < needed_bytes:
        raise StorageError(f"{purpose} needs {readable(needed_bytes)}, but {no_room(folder, knob)}")


def no_room(folder: Path, knob: str) -> str:
    """What a full disk has left, and what to do."""
    return (
        f"the disk of {folder} has {readable(free_bytes(folder))} free; free some space there, or "
        f"set {knob} to a folder on another disk"
    )


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or would be made."""
    try:
        return shutil.disk_usage(existing(folder)).free
    except OSError:
        return 0


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    place = folder
    # Of os.path: what may not be looked at is as good as not there.
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    return place


def readable(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / _GIB:.1f} GiB" if size_bytes >= _GIB else f"{size_bytes / _MIB:.0f} MiB"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    here: BaseException | None = error
    while here is not None and id(here) not in seen:
        seen.add(id(here))
        yield here
        here = here.__cause__ or here.__context__


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error) for words in _FULL_WORDS)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
