"""The GPU of a model server: one that no job's engines hold, for as long as the server runs."""

from __future__ import annotations

from dataclasses import dataclass

from alignment_api.errors import ModelServerError, NotServedError
from alignment_api.execution.queue import JobQueue
from alignment_api.inference.launch import is_cpu_build
from alignment_api.processes.devices import Devices, Share
from alignment_api.settings import Settings


@dataclass(frozen=True)
class Hold:
    """What a server may use, and the engine slots that it keeps from jobs meanwhile."""

    share: Share
    slots: tuple[int, ...] = ()


class ServerGpus:
    """Gives servers the GPUs that jobs leave, by the same slots that jobs hold.

    Args:
        devices: of this machine.
        queue: of the jobs that share them.
    """

    def __init__(self, settings: Settings, devices: Devices, queue: JobQueue) -> None:
        self._devices = devices
        self._queue = queue
        self._is_own_program = settings.inference_command is not None

    def take(self) -> Hold:
        """Hold a GPU, or nothing where servers run on cores or where the operator says how.

        Raises:
            NotServedError: no server can run beside this service, whatever jobs do.
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
        """Let jobs have what a server that has stopped held."""
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
