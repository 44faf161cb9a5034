"""Errors for full disks and unwritable folders, which name the folder and the remedy."""

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
"""Messages of libraries in other languages, whose errors carry no errno."""
_NEARLY_NOTHING = 16 * 2**20
_MIB = 2**20
_GIB = 2**30
_SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def writing(folder: Path, knob: str) -> Generator[None]:
    """Turn a block's write errors into errors that name the folder and the setting for it.

    Args:
        folder: folder that the block writes to; it need not exist.
        knob: setting that chooses the folder, such as `ESSA_HOME`.
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
    """Return the error for a failed write in a folder."""
    if error.errno in _FULL:
        return StorageError(no_room(folder, knob))
    place = Path(os.fsdecode(error.filename)) if error.filename else folder
    return StorageError(
        f"{place} cannot be written: {error.strerror}; set {knob} to a folder that user "
        f"{os.geteuid()} may write"
    )


def full_disk(error: BaseException, places: Sequence[Path] = ()) -> StorageError | None:
    """Return the error for a full disk if one caused `error`, else None.

    Args:
        error: any error; its causes are examined too.
        places: folders in use; the folders of temporary files and shared memory are added.
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
    # The failed process may have removed its files already, so that no disk is full any more.
    exhausted = [place for place, free in rooms.items() if free < _NEARLY_NOTHING] or looked_at
    shown = ", ".join(f"{place} has {readable(rooms[place])} free" for place in exhausted)
    return StorageError(
        f"a disk is full ({shown}): {_first_line(full)}; free some space there, or choose another "
        "folder with ESSA_HOME, --run-dir, --out or TMPDIR"
    )


def refused(error: OSError) -> StorageError | None:
    """Return the error for a file that this user may not access; None for other errors."""
    if error.errno not in _CLOSED or not error.filename:
        return None
    return StorageError(
        f"{os.fsdecode(error.filename)}: {error.strerror}; give user {os.geteuid()} access to it, "
        "or choose another folder with ESSA_HOME, --home, --run-dir, --out or TMPDIR"
    )


def require_room(folder: Path, needed_bytes: int, purpose: str, knob: str) -> None:
    """Refuse to begin a write for which the disk has too little space.

    Args:
        folder: folder to write to; it need not exist.
        needed_bytes: minimum free space.
        purpose: name of the thing that needs the space.
        knob: setting that chooses the folder.
    Raises:
        StorageError: there is less free space.
    """
    if free_bytes(folder) < needed_bytes:
        raise StorageError(f"{purpose} needs {readable(needed_bytes)}, but {no_room(folder, knob)}")


def no_room(folder: Path, knob: str) -> str:
    """Return a message with the free space of a full disk and the remedy."""
    return (
        f"the disk of {folder} has {readable(free_bytes(folder))} free; free some space there, or "
        f"set {knob} to a folder on another disk"
    )


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk where `folder` is or would be created."""
    try:
        return shutil.disk_usage(existing(folder)).free
    except OSError:
        return 0


def existing(folder: Path) -> Path:
    """Return the folder, or its nearest existing ancestor."""
    place = folder
    # os.path.exists, because it treats a folder without access as missing.
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    return place


def readable(size_bytes: int) -> str:
    """Format a size for people."""
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
