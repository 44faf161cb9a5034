"""`essa keys`: edits the store directly, so that the operator is never locked out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App
from rich.console import Console
from rich.table import Table

from alignment_api.cli.flags import Home
from essa.errors import SpecError

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

    from alignment_api.auth.keys import KeyRepository, Scope

_DAY_S = 24 * 3600
_PIPE_WIDTH = 200

app = App("keys", help="List, add and revoke API keys, on the store itself.", version_flags=())


@app.command(name="list")
def show(*, home: Home = None) -> int:
    """Show all keys, without their secrets."""
    shown = Table("id", "name", "project", "scopes", "key", "state", box=None)
    with _opened(home) as keys:
        for row in keys.all():
            shown.add_row(*_cells(row))
    console = Console()
    console.print(shown, width=None if console.is_terminal else _PIPE_WIDTH)
    return 0


@app.command
def add(
    name: str,
    /,
    *,
    scopes: str = "read,submit",
    project: str = "default",
    days: float | None = None,
    home: Home = None,
) -> int:
    """Make a key and print it; it is shown this once.

    Args:
        name: What people call the key.
        scopes: Any of read, submit, code and admin.
        project: Project whose jobs the key sees; created if it does not exist.
        days: Days for which the key is valid (default: unlimited).
    """
    from alignment_api.errors import ProjectNotFoundError

    with _opened(home) as keys:
        chosen = _scopes(scopes)
        try:
            project_id = keys.project_named(project)["id"]
        except ProjectNotFoundError:
            project_id = keys.ensure_project(project)
        expires_at = None if days is None else time.time() + days * _DAY_S
        print(keys.add(name, chosen, project_id, expires_at).secret)
    return 0


@app.command
def revoke(key_id: str, /, *, home: Home = None) -> int:
    """Revoke a key.

    Args:
        key_id: Id of the key, such as key_0123456789abcdef.
    """
    with _opened(home) as keys:
        row = keys.revoke(key_id)
    print(f"{row['id']} ({row['name']}) is revoked; running services notice in seconds")
    return 0


@contextmanager
def _opened(home: Path | None) -> Iterator[KeyRepository]:
    from alignment_api.auth.keys import KeyRepository
    from alignment_api.doctor.preflight import require_home
    from alignment_api.settings import Settings
    from alignment_api.store import Store

    settings = Settings.from_environment(os.environ, home=home)
    if settings.database_url is None:
        require_home(settings)
    store = Store(settings.store_url)
    try:
        yield KeyRepository(store)
    finally:
        store.close()


def _scopes(text: str) -> list[Scope]:
    from alignment_api.auth.keys import Scope

    try:
        return [Scope(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        known = ", ".join(Scope)
        raise SpecError(f"--scopes is {text!r}; write some of {known}", field="scopes") from error


def _cells(row: RowMapping) -> tuple[str, ...]:
    state = "valid"
    if row["revoked_at"] is not None:
        state = "revoked"
    elif row["expires_at"] is not None:
        until = datetime.fromtimestamp(row["expires_at"], UTC)
        state = f"{'until' if row['expires_at'] > time.time() else 'expired'} {until:%Y-%m-%d}"
    return row["id"], row["name"], row["project"], row["scopes"], row["hint"], state
