"""GPUs for model servers: each server gets one that no job holds, for as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass

from alignment_api.errors import ModelServerError, NotServedError
from alignment_api.execution.queue import JobQueue
from alignment_api.inference.launch import is_cpu_build
from alignment_api.processes.devices import Devices, Share
from alignment_api.settings import Settings


@dataclass(frozen=True)
class Hold:
    """A server's share of the machine, and the engine slots that it blocks for jobs."""

    share: Share
    slots: tuple[int, ...] = ()


class ServerGpus:
    """Assigns servers the GPUs that jobs leave free, counted in the same slots.

    Args:
        devices: the devices of this machine.
        queue: the queue of the jobs that share them.
    """

    def __init__(self, settings: Settings, devices: Devices, queue: JobQueue) -> None:
        self._devices = devices
        self._queue = queue
        self._is_own_program = settings.inference_command is not None

    def take(self) -> Hold:
        """Hold a GPU; nothing if servers run on CPU or the operator's own command runs them.

        Raises:
            NotServedError: no server can run beside this service, however many GPUs are free.
            ModelServerError: jobs and other servers hold every GPU.
        """
        if self._is_own_program or is_cpu_build():
            return Hold(Share())
        devices = self._devices
        if not devices.gpus:
            raise NotServedError(
                "no model can be asked here: the vLLM beside the service is its CUDA build, and "
                "this process sees no GPU (under Compose and Kubernetes the Ray workers have "
                "them). Export the model and serve it where a GPU is: `essa export`"
            )
        if not devices.is_shared:
            return self._of_a_cluster()
        slots = self._queue.borrow(devices.slots_of_gpus(1))
        if not slots:
            raise ModelServerError(
                f"all {len(devices.gpus)} GPUs are held by jobs or other models, or a queued job "
                "waits for one; ask again when a job has ended, or lower engine.workers of the "
                "jobs so that one GPU stays free"
            )
        return Hold(devices.share(slots), slots)

    def give_back(self, hold: Hold) -> None:
        """Free the slots of a server that has stopped."""
        if hold.slots:
            self._queue.give_back(hold.slots)

    def are_wanted(self) -> bool:
        """Whether a queued job waits for slots."""
        return self._queue.is_waiting

    def _of_a_cluster(self) -> Hold:
        if not self._devices.is_named:
            raise NotServedError(
                "no model can be asked here: this machine's GPUs may be held by engines of the Ray "
                "cluster, which this service does not see. Give the service one of its own with "
                "CUDA_VISIBLE_DEVICES, and keep that one from Ray"
            )
        return Hold(Share())
