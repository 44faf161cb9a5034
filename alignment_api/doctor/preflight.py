"""The doctor's checks, made before work begins that a failure would end.

The checks are the doctor's own, so both report the same. They take milliseconds; checks that ask a
GPU run once per process.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from alignment_api.doctor import gpu, machine, space
from alignment_api.doctor.finding import Finding, State
from alignment_api.settings import Settings
from essa.errors import MachineError, StorageError
from essa.spec import AlignmentJobSpec


def require_home(settings: Settings) -> None:
    """Refuse a home that is not writable or has no room.

    Raises:
        StorageError: says what is wrong with the home, and how to fix it.
    """
    _refuse(space.check_writable("home", settings.home, "ESSA_HOME"), StorageError)


def require_folder(folder: Path, option: str) -> None:
    """Refuse an output folder that is not writable or has no room.

    Raises:
        StorageError: says what is wrong with the folder, and how to fix it.
    """
    _refuse(space.check_writable(option, folder, option), StorageError)


def require_machine(spec: AlignmentJobSpec, settings: Settings) -> None:
    """Refuse a job that cannot run on this machine.

    The nodes of a cluster are not checked: they may differ from this machine.

    Raises:
        StorageError: a folder that the job writes to is full or read-only.
        MachineError: CPU, memory or GPU is not sufficient.
    """
    require_home(settings)
    _refuse(space.check_temporary(), StorageError)
    require_engines(settings)
    if settings.ray_address is None:
        if "vllm" in spec.engine.distributions:
            _refuse(_driver(), MachineError)
        _refuse(machine.check_shared_memory(), StorageError)


def require_engines(settings: Settings) -> None:
    """Refuse a machine that can run no engine, unless a cluster runs them; see `require_machine`.

    Raises:
        MachineError: CPU, memory or GPU is not sufficient.
    """
    if settings.ray_address is None:
        found = [*machine.check_instructions(), *machine.check_memory(), *_too_old()]
        _refuse(found, MachineError)


@lru_cache(maxsize=1)
def _driver() -> tuple[Finding, ...]:
    return tuple(gpu.check_gpus()) if machine.flavour() == "vllm" else ()


@lru_cache(maxsize=1)
def _too_old() -> tuple[Finding, ...]:
    return tuple(gpu.check_capability())


def _refuse(findings: Iterable[Finding], kind: type[MachineError]) -> None:
    """Raise one error for all failures among the findings, a line for each."""
    faults = [
        f"{one.check}: {one.seen}; {one.advice}" for one in findings if one.state is State.FAILURE
    ]
    if faults:
        raise kind("\n".join(faults))
