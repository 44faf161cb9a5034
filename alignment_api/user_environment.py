"""A name and a home for a user that the system does not know.

A container may run as a number without an entry in the passwd file. Libraries that engines load
then fail as they ask for the user's name, or write to a folder that is called `~`.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import MutableMapping
from pathlib import Path


def complete_environment(environment: MutableMapping[str, str], home: Path | None = None) -> None:
    """Set USER, LOGNAME and HOME where they are missing and the system does not know them.

    Args:
        environment: of this process, and so of all that it starts.
        home: the service's folder where it was named; it becomes the home of a user without one.
    """
    if not _has_name():
        name = f"uid{os.geteuid()}"
        environment["USER"] = environment["LOGNAME"] = name
    given = str(home) if home is not None else environment.get("ESSA_HOME")
    if given and not has_home():
        environment["HOME"] = os.path.abspath(given)


def has_home() -> bool:
    """True where the user has a home folder, by HOME or by the passwd file."""
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


def unknown_home() -> str:
    """Why a user has none."""
    return f"HOME is not set, and the passwd file does not know user {os.geteuid()}"


def _has_name() -> bool:
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        return False
    return True
