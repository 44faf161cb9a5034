"""What `essa doctor` would call a problem, looked at before work begins that it would end.

The checks are the doctor's own, so both say the same. They take milliseconds; what asks a GPU is
asked once in the life of a process.
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
    """Refuse a home that cannot be written or has no room.

    Raises:
        StorageError: what is wrong with it, and what to do.
    """
    _refuse(space.check_writable("home", settings.home, "ESSA_HOME"), StorageError)


def require_folder(folder: Path, option: str) -> None:
    """Refuse a folder of results that cannot be written or has no room.

    Raises:
        StorageError: what is wrong with it, and what to do.
    """
    _refuse(space.check_writable(option, folder, option), StorageError)


def require_machine(spec: AlignmentJobSpec, settings: Settings) -> None:
    """Refuse a job that cannot run on this machine.

    Where a cluster runs the engines, its nodes are not looked at: they may be unlike this machine.

    Raises:
        StorageError: a folder that the job writes to is full or read-only.
        MachineError: CPU, memory or GPU will not do.
    """
    require_home(settings)
    _refuse(space.check_temporary(), StorageError)
    require_engines(settings)
    if settings.ray_address is None:
        if "vllm" in spec.engine.distributions:
            _refuse(_driver(), MachineError)
        _refuse(machine.check_shared_memory(), StorageError)


def require_engines(settings: Settings) -> None:
    """Refuse a machine that can run no engine, unless a cluster does; see `require_machine`.

    Raises:
        MachineError: CPU, memory or GPU will not do.
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
    """Raise an error for the failures among findings, a line for each."""
    faults = [
        f"{one.check}: {one.seen}; {one.advice}" for one in findings if one.state is State.FAILURE
    ]
    if faults:
        raise kind("\n".join(faults))
