"""The command `essa`. A command's module is imported only when that command is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from alignment_api.processes.user_environment import complete_environment, has_home
from essa.errors import EssaError, MachineError, SpecError
from essa.storage.faults import full_disk, refused

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection

_ROOM = "alignment_api.cli.commands"
_COMMANDS = {
    "serve": "serve:run",
    "submit": "submit:run",
    "run": "local:run",
    "validate": "validate:run",
    "list": "jobs:show",
    "watch": "jobs:watch",
    "cancel": "jobs:cancel",
    "pause": "jobs:pause",
    "resume": "jobs:resume",
    "clone": "jobs:clone",
    "export": "export:run",
    "keys": "keys:app",
    "quantize": "quantize:run",
    "drift": "drift:run",
    "proxy-points": "proxy_points:run",
    "sweep": "sweep:app",
    "compare": "compare:run",
    "plan": "plan:run",
    "doctor": "doctor:run",
}
"""Function, or app with subcommands, of each command, as MODULE:NAME in `commands`."""
_EXIT_FAILED = 1
_EXIT_INVALID = 2
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, 1 if the command failed, 2 if the input is invalid or the machine unsuitable, 130 if the
        user interrupted it.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        app = build_app()
    except ModuleNotFoundError:
        # No dependency is installed. The doctor needs none, and says what to do.
        return import_module(f"{_ROOM}.doctor").run(json="--json" in words)
    from cyclopts import CycloptsError

    given: Mapping[str, Any] = {}
    try:
        command, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
        given = bound.arguments
        if command == app.help_print:
            return _help(app, given["tokens"], is_asked=not {"--help", "-h"}.isdisjoint(words))
        complete_environment(os.environ, given.get("home"))
        return command(*bound.args, **bound.kwargs) or 0
    except CycloptsError as error:
        asked = " ".join(("essa", *(error.command_chain or ())))
        print(f"{error} See `{asked} --help`.", file=sys.stderr)
        return _EXIT_INVALID
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe, such as head, has closed it; Python must not complain on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_FAILED
    except Exception as error:
        told = _told(error, given)
        if told is None:
            raise
        print(told.message, file=sys.stderr)
        return _EXIT_INVALID if isinstance(told, SpecError | MachineError) else _EXIT_FAILED


def build_app() -> App:
    """Build the command line with all commands."""
    from cyclopts import App, Parameter

    app = App(
        "essa",
        help="Align a language model by evolving a LoRA adapter.",
        version_flags=(),
        config=_refuse_fractions,
        # The last of repeated flags wins; there is no --no-FLAG.
        default_parameter=Parameter(allow_repeating=True, negative=(), show_default=_shown),
    )
    for number, (name, place) in enumerate(_COMMANDS.items()):
        app.command(f"{_ROOM}.{place}", name=name, sort_key=number)
    app.register_install_completion_command()
    return app


def _refuse_fractions(app: App, chain: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse 5.5 for an integer flag, which cyclopts would round."""
    from cyclopts import CoercionError

    for argument in arguments:
        for token in argument.tokens:
            if int in (argument.hint, *get_args(argument.hint)) and "." in token.value:
                raise CoercionError(argument=argument, token=token, target_type=int)


def _shown(default: object) -> str | None:
    """Format a default value for the help; None hides a default that says nothing."""
    return None if default in (None, ()) or default is False else str(default)


def _help(app: App, words: Sequence[str], *, is_asked: bool) -> int:
    """Show help; calling no command without asking for help is invalid."""
    _, shown, _ = app.parse_commands(words)
    shown[-1].resolved_commands()  # their docstrings have the summaries
    app.help_print(words, console=app.console if is_asked else app.error_console)
    return 0 if is_asked else _EXIT_INVALID


def _told(error: Exception, given: Mapping[str, Any]) -> EssaError | None:
    """Return the error to show to the user; None if it is a bug in the program."""
    named = [given.get(name) for name in ("home", "run_dir", "out")]
    places = [*named, os.environ.get("ESSA_HOME") or (has_home() and Path.home() / ".essa")]
    told = full_disk(error, [Path(place) for place in places if place])
    if told is not None:
        return told
    if isinstance(error, EssaError):
        return error
    return refused(error) if isinstance(error, OSError) else None


if __name__ == "__main__":
    sys.exit(main())
