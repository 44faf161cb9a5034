"""The process around a trainer: a Ray actor."""

from __future__ import annotations

from workers.machine.gpu_memory import await_free_memory
from workers.methods.trl.messages import Experience, Report, TrainerBuild


class TrainerActor:
    """Trains between calls: each hands over rollouts and returns when the next are wanted."""

    def start(self, build: TrainerBuild, start_step: int) -> Report:
        """Load the model, or a checkpoint of it, and say where it stands."""
        # Here and not above: the job's process imports this module, and needs no TRL.
        from workers.methods.trl.trl_run import TrlRun

        await_free_memory()
        self._run = TrlRun(build, start_step)
        return self._run.start()

    def step(self, experience: Experience) -> Report:
        """Train on one round of rollouts."""
        return self._run.exchange(experience)
