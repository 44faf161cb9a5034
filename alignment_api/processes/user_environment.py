"""A name for a user that the system does not know, and folders for one whose home will not do.

A container may run as a number without an entry in the passwd file, or with a home that cannot be
written. Libraries that engines load then fail as they ask for the user's name, write to a folder
that is called `~`, or cannot keep their caches.
"""

from __future__ import annotations

import getpass
import os
import secrets
from collections.abc import MutableMapping
from pathlib import Path


def complete_environment(environment: MutableMapping[str, str], home: Path | None = None) -> None:
    """Set what libraries need and the system does not give; what is set already stays.

    A user without a name gets one. With a folder of the service named, a user without a home has
    that one, and caches of a user whose home cannot be written lie in it.

    Args:
        environment: of this process, and so of all that it starts.
        home: the service's folder, where it was given; else `ESSA_HOME` names it.
    """
    if not _has_name():
        name = f"uid{os.geteuid()}"
        environment["USER"] = environment["LOGNAME"] = name
    given = str(home) if home is not None else environment.get("ESSA_HOME")
    if given and not has_home():
        environment["HOME"] = os.path.abspath(given)
    elif given and not os.access(Path.home(), os.W_OK):
        _move_caches(environment, Path(given).absolute() / "user")


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


def _move_caches(environment: MutableMapping[str, str], place: Path) -> None:
    fetched = Path.home() / ".cache" / "huggingface"
    if fetched.is_dir() and "XDG_CACHE_HOME" not in environment:
        environment.setdefault("HF_HOME", str(fetched))  # what is there can still be read
    environment.setdefault("XDG_CACHE_HOME", str(place / "cache"))
    environment.setdefault("XDG_CONFIG_HOME", str(place / "config"))
    environment.setdefault("TRITON_HOME", str(place))
    if not {"RAY_AUTH_TOKEN_PATH", "ESSA_RAY_ADDRESS"} & environment.keys():
        # A cluster of our own; Ray would write one into the home.
        environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _has_name() -> bool:
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        return False
    return True
