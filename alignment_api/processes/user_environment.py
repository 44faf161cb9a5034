"""A name for users that the system does not know, and folders for users without a writable home.

A container may run as a user id without an entry in the passwd file, or with a home that is not
writable. Libraries that engines load then fail when they ask for the user's name, write to a
folder called `~`, or cannot store their caches.
"""

from __future__ import annotations

import getpass
import os
import secrets
from collections.abc import MutableMapping
from pathlib import Path


def complete_environment(environment: MutableMapping[str, str], home: Path | None = None) -> None:
    """Set variables that libraries need and the system lacks; variables already set are kept.

    A user without a name gets one. If the service's folder is named, it becomes the home of a user
    without one, and the place of the caches of a user whose home is not writable.

    Args:
        environment: variables of this process, which all its children inherit.
        home: the service's folder, if given; otherwise `ESSA_HOME` names it.
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
    """Return whether HOME or the passwd file gives the user a home folder."""
    try:
        Path.home()
    except RuntimeError:
        return False
    return True


def unknown_home() -> str:
    """Return the reason why the user has no home folder."""
    return f"HOME is not set, and the passwd file does not know user {os.geteuid()}"


def _move_caches(environment: MutableMapping[str, str], place: Path) -> None:
    fetched = Path.home() / ".cache" / "huggingface"
    if fetched.is_dir() and "XDG_CACHE_HOME" not in environment:
        environment.setdefault("HF_HOME", str(fetched))  # models already downloaded stay readable
    environment.setdefault("XDG_CACHE_HOME", str(place / "cache"))
    environment.setdefault("XDG_CONFIG_HOME", str(place / "config"))
    environment.setdefault("TRITON_HOME", str(place))
    if not {"RAY_AUTH_TOKEN_PATH", "ESSA_RAY_ADDRESS"} & environment.keys():
        # Our own Ray cluster needs a token; Ray would otherwise write one into the home.
        environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _has_name() -> bool:
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        return False
    return True
