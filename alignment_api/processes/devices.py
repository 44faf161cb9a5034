"""The devices of this machine, and the slots by which jobs share them."""

from __future__ import annotations

import glob
import math
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from essa.errors import SpecError
from essa.spec.engine import EngineSpec
from essa.spec.method import EvolutionSpec, MethodSpec
from reward.machine import usable_cores

_NVIDIA_TIMEOUT_S = 20.0
_SEARCH = EvolutionSpec()


@dataclass(frozen=True)
class Share:
    """The devices that one job may use; empty if it may use all."""

    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for the job's process."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {}


@dataclass(frozen=True)
class Devices:
    """GPUs, or cores on a machine without GPUs, divided into slots.

    Attributes:
        gpus: identifiers as in CUDA_VISIBLE_DEVICES.
        cores: numbers of the cores that this process may use.
        slots: number of engines that can run at once.
        is_shared: False if engines run on a cluster, whose devices are not assigned here.
        is_named: whether CUDA_VISIBLE_DEVICES says which GPUs this service may use.
    """

    gpus: tuple[str, ...]
    cores: tuple[int, ...]
    slots: int
    is_shared: bool = True
    is_named: bool = False

    def needed(self, engine: EngineSpec, method: MethodSpec = _SEARCH) -> int:
        """Return the slots that a job needs: for its engines, and for a trainer with its own GPU.

        Args:
            method: a training method needs a GPU of its own; on CPU it alternates with the engines.
        Raises:
            SpecError: more slots than exist; the message names the settings that change this.
        """
        slots = engine.workers * self._slots_of_one(engine)
        if method.trains and self.gpus and self.is_shared:
            self._check_trainer(engine, method)
            slots += self.slots_of_gpus(1)
        if slots > self.slots:
            raise SpecError(
                f"engine.workers = {engine.workers}: the job's engines need {slots} slots, and "
                f"this service has {self.slots}; lower engine.workers"
                f"{self._other_knob(engine)}, or raise ESSA_ENGINE_SLOTS",
                field="engine.workers",
            )
        return slots

    def share(self, slots: tuple[int, ...]) -> Share:
        """Return the devices of the job that holds these slots."""
        if not self.is_shared or len(slots) == self.slots:
            return Share()
        if self.gpus:
            return Share(gpus=_parts(self.gpus, self.slots, slots))
        return Share(cores=_parts(self.cores, self.slots, slots))

    def slots_of_gpus(self, count: int) -> int:
        """Return the number of slots that together have `count` GPUs."""
        return max(1, math.ceil(count * self.slots / len(self.gpus) - 1e-9))

    def _check_trainer(self, engine: EngineSpec, method: MethodSpec) -> None:
        held = engine.workers * engine.ranks
        if held >= len(self.gpus):
            raise SpecError(
                f"method.type {method.type} trains on a GPU of its own beside engines that hold "
                f"{held}, and this service has {len(self.gpus)}; lower engine.workers"
                f"{self._other_knob(engine)}, or run it where there are {held + 1} GPUs",
                field="engine.workers",
            )

    def _slots_of_one(self, engine: EngineSpec) -> int:
        if not self.is_shared:
            return engine.ranks  # the cluster's machines may differ from this one
        if self.gpus:
            return self.slots_of_gpus(engine.ranks)
        cores = engine.cores_per_worker or 1
        return max(1, math.ceil(cores * self.slots / len(self.cores) - 1e-9))

    def _other_knob(self, engine: EngineSpec) -> str:
        if self.gpus:
            return " or engine.tensor_parallel" if engine.ranks > 1 else ""
        return " or engine.cores_per_worker" if engine.cores_per_worker else ""


class SlotTable:
    """The free and taken slots. Thread-safe."""

    def __init__(self, slots: int) -> None:
        self._free = set(range(slots))
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Number of free slots."""
        return len(self._free)

    def take(self, count: int) -> tuple[int, ...]:
        """Hold the `count` lowest free slots, or all free ones if there are fewer."""
        with self._lock:
            taken = tuple(sorted(self._free)[:count])
            self._free -= set(taken)
        return taken

    def give_back(self, slots: tuple[int, ...]) -> None:
        """Free some slots."""
        with self._lock:
            self._free |= set(slots)


def find_devices(slots: int | None, environment: Mapping[str, str]) -> Devices:
    """Detect the devices of this machine without loading a GPU library.

    Args:
        slots: value of the setting `engine_slots`; None means one per GPU, or one per core.
        environment: variables, of which `CUDA_VISIBLE_DEVICES` and `ESSA_RAY_ADDRESS` are read.
    """
    gpus = _gpus(environment.get("CUDA_VISIBLE_DEVICES"))
    cores = tuple(usable_cores())
    return Devices(
        gpus=gpus,
        cores=cores,
        slots=slots or len(gpus or cores),
        is_shared=not environment.get("ESSA_RAY_ADDRESS"),
        is_named="CUDA_VISIBLE_DEVICES" in environment,
    )


def _gpus(visible: str | None) -> tuple[str, ...]:
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return tuple(name for name in names if name and name != "-1")
    program = shutil.which("nvidia-smi")
    if program is not None:
        try:
            answer = subprocess.run(
                [program, "-L"], capture_output=True, text=True, timeout=_NVIDIA_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return ()
        listed = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
        return tuple(str(number) for number in range(len(listed)))
    return tuple(str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*"))))


def _parts(found: tuple, total: int, slots: tuple[int, ...]) -> tuple:
    """Return the devices of some slots; if slots outnumber devices, several slots share one."""
    chosen: list = []
    for slot in slots:
        first = slot * len(found) // total
        after = max(first + 1, (slot + 1) * len(found) // total)
        chosen += [device for device in found[first:after] if device not in chosen]
    return tuple(chosen)
