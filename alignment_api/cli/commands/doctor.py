"""`essa doctor`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignment_api.doctor import content, gpu, machine, packages, service, space, store
from alignment_api.doctor.finding import Finding, State, failure
from essa.errors import EssaError, MachineError

if TYPE_CHECKING:
    from alignment_api.settings import Settings
    from essa.number_format import MachineFormats

Check = Callable[[], Iterable[Finding]]

_MARKS = {State.OK: "ok     ", State.WARNING: "warning", State.FAILURE: "PROBLEM"}
_OF_INSTALLATION: tuple[Check, ...] = (
    packages.check_python,
    packages.check_owners,
    packages.check_requirements,
    packages.check_beside_torch,
    packages.check_lock,
    machine.check_compiler,
    machine.check_libraries,
    machine.check_cpu,
    machine.check_memory,
    machine.check_shared_memory,
    space.check_temporary,
    gpu.check_gpus,
    content.check_models,
    content.check_integrations,
)


# The doctor runs without any package, so it declares its flags with the standard library only.
def run(*, json: bool = False, home: Path | None = None) -> int:
    """Find what is wrong with this installation; exits 1 if something is.

    Args:
        json: Print the findings as JSON.
        home: The service's folder (default: ~/.essa).
    """
    formats: list[MachineFormats] = []
    findings = list(examine(home, formats))
    counts = Counter(finding.state for finding in findings)
    is_good = not counts[State.FAILURE]
    if json:
        shown = [finding._asdict() for finding in findings]
        print(dumps({"ok": is_good, "findings": shown, **_measured(formats)}, indent=2))
    else:
        for finding in findings:
            print(_line(finding))
        print(f"\n{counts[State.FAILURE]} problems, {counts[State.WARNING]} warnings")
    return 0 if is_good else 1


def examine(home: Path | None, formats: list[MachineFormats]) -> Iterator[Finding]:
    """Yield all findings, those of the installation before those of the service.

    Args:
        home: the service's folder, if one was given.
        formats: output list; receives the machine's number formats.
    """
    for check in (*_OF_INSTALLATION, partial(_formats, formats)):
        yield from _findings(check)
    found: list[Settings] = []
    yield from _findings(partial(_settings, home, found))
    for settings in found:
        checks: tuple[Check, ...] = (
            partial(service.check_variables, os.environ),
            partial(space.check_home, settings),
            partial(service.check_file_system, settings),
            partial(store.check_store, settings),
            partial(service.check_access, settings),
            partial(service.check_port, settings),
            partial(service.check_ray, settings),
        )
        for check in checks:
            yield from _findings(check)


def _formats(found: list[MachineFormats]) -> Iterator[Finding]:
    """Check the number formats, adding what was measured to `found`."""
    from alignment_api.doctor.formats import check_formats

    yield from check_formats(found)


def _measured(formats: list[MachineFormats]) -> dict[str, Any]:
    """Return the measured formats for JSON; empty lists and null if nothing could be measured."""
    return {
        "formats": [one.model_dump(mode="json") for found in formats for one in found.formats],
        "precision": next((str(found.fastest()) for found in formats), None),
    }


def _settings(home: Path | None, found: list[Settings]) -> Iterator[Finding]:
    """Read the settings into `found`; yields a finding only if they cannot be read."""
    from alignment_api.settings import Settings

    try:
        found.append(Settings.from_environment(os.environ, home=home))
    except MachineError as error:
        seen, _, advice = error.message.partition("; ")
        yield failure("home", seen, advice)
    except EssaError as error:
        yield failure("settings", error.message, "correct the variable, or unset it")


def _findings(check: Check) -> Iterator[Finding]:
    """Yield a check's findings; a check that raises becomes a finding, so the report goes on."""
    function = check.func if isinstance(check, partial) else check
    name = function.__name__.removeprefix("check").strip("_").replace("_", " ")
    try:
        yield from check()
    except ImportError as error:
        yield failure(name, f"cannot be looked at: {error}", "run `make install`")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        yield failure(name, f"cannot be looked at: {reason}", "look at it by hand")


def _line(finding: Finding) -> str:
    text = f"{_MARKS[finding.state]} {finding.check}: {finding.seen}"
    return f"{text}\n        -> {finding.advice}" if finding.advice else text
