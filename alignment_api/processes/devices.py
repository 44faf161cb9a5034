"""The devices of this machine and how jobs share them: one slot for one engine."""

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
    """What one job may use. Empty where it may use everything."""

    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the job's process."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {}


@dataclass(frozen=True)
class Devices:
    """GPUs, or cores where there are none, divided into slots.

    Attributes:
        gpus: as CUDA_VISIBLE_DEVICES names them.
        cores: numbers of those that this process may use.
        slots: engines that run at once.
        is_shared: False where engines run on a cluster, whose devices are not handed out here.
        is_named: CUDA_VISIBLE_DEVICES says which GPUs this service may use.
    """

    gpus: tuple[str, ...]
    cores: tuple[int, ...]
    slots: int
    is_shared: bool = True
    is_named: bool = False

    def needed(self, engine: EngineSpec, method: MethodSpec = _SEARCH) -> int:
        """Slots that a job holds: those of its engines, and of a trainer with a GPU of its own.

        Args:
            method: one that trains does so beside the engines; on cores it takes turns with them.
        Raises:
            SpecError: more than there are; names the settings that change it.
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
        """What the job in these slots may use."""
        if not self.is_shared or len(slots) == self.slots:
            return Share()
        if self.gpus:
            return Share(gpus=_parts(self.gpus, self.slots, slots))
        return Share(cores=_parts(self.cores, self.slots, slots))

    def slots_of_gpus(self, count: int) -> int:
        """Slots that together have so many GPUs."""
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
            return engine.ranks  # the cluster's machines may be unlike this one
        if self.gpus:
            return self.slots_of_gpus(engine.ranks)
        cores = engine.cores_per_worker or 1
        return max(1, math.ceil(cores * self.slots / len(self.cores) - 1e-9))

    def _other_knob(self, engine: EngineSpec) -> str:
        if self.gpus:
            return " or engine.tensor_parallel" if engine.ranks > 1 else ""
        return " or engine.cores_per_worker" if engine.cores_per_worker else ""


class SlotTable:
    """Which slots are taken. Safe to share between threads."""

    def __init__(self, slots: int) -> None:
        self._free = set(range(slots))
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return len(self._free)

    def take(self, count: int) -> tuple[int, ...]:
        """Hold the lowest free slots; fewer than asked for where there are not so many."""
        with self._lock:
            taken = tuple(sorted(self._free)[:count])
            self._free -= set(taken)
        return taken

    def give_back(self, slots: tuple[int, ...]) -> None:
        """Let go of slots."""
        with self._lock:
            self._free |= set(slots)


def find_devices(slots: int | None, environment: Mapping[str, str]) -> Devices:
    """Look at this machine; loads no library of a GPU.

    Args:
        slots: of the setting `engine_slots`; None is one for each GPU, or for each core.
        environment: `CUDA_VISIBLE_DEVICES` and `ESSA_RAY_ADDRESS` are read.
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
    """The devices of some slots; where slots outnumber devices, several slots have the same one."""
    chosen: list = []
    for slot in slots:
        first = slot * len(found) // total
        after = max(first + 1, (slot + 1) * len(found) // total)
        chosen += [device for device in found[first:after] if device not in chosen]
    return tuple(chosen)
