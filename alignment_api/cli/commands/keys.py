"""`essa keys`: on the store itself, so that whoever runs the service is never locked out."""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from sqlalchemy.engine import RowMapping

from alignment_api.auth.keys import KeyRepository, Scope
from alignment_api.doctor.preflight import require_home
from alignment_api.errors import ProjectNotFoundError
from alignment_api.settings import Settings
from alignment_api.store import Store
from essa.errors import SpecError

_DAY_S = 24 * 3600
_PIPE_WIDTH = 200


def run(arguments: argparse.Namespace) -> int:
    """List, add or revoke keys."""
    settings = Settings.from_environment(os.environ, home=arguments.home)
    if settings.database_url is None:
        require_home(settings)
    store = Store(settings.store_url)
    try:
        keys = KeyRepository(store)
        if arguments.action == "add":
            _add(keys, arguments)
        elif arguments.action == "revoke":
            row = keys.revoke(arguments.key_id)
            print(f"{row['id']} ({row['name']}) is revoked; running services notice in seconds")
        else:
            _show(keys.all())
    finally:
        store.close()
    return 0


def _add(keys: KeyRepository, arguments: argparse.Namespace) -> None:
    scopes = _scopes(arguments.scopes)
    try:
        project_id = keys.project_named(arguments.project)["id"]
    except ProjectNotFoundError:
        project_id = keys.ensure_project(arguments.project)
    expires_at = None if arguments.days is None else time.time() + arguments.days * _DAY_S
    print(keys.add(arguments.name, scopes, project_id, expires_at).secret)


def _scopes(text: str) -> list[Scope]:
    try:
        return [Scope(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        known = ", ".join(Scope)
        raise SpecError(f"--scopes is {text!r}; write some of {known}", field="scopes") from error


def _show(rows: list[RowMapping]) -> None:
    shown = Table("id", "name", "project", "scopes", "key", "state", box=None)
    for row in rows:
        shown.add_row(*_cells(row))
    console = Console()
    console.print(shown, width=None if console.is_terminal else _PIPE_WIDTH)


def _cells(row: RowMapping) -> tuple[str, ...]:
    state = "valid"
    if row["revoked_at"] is not None:
        state = "revoked"
    elif row["expires_at"] is not None:
        until = datetime.fromtimestamp(row["expires_at"], UTC)
        state = f"{'until' if row['expires_at'] > time.time() else 'expired'} {until:%Y-%m-%d}"
    return row["id"], row["name"], row["project"], row["scopes"], row["hint"], state
