"""Ray actor that runs a trainer in its own process."""

from __future__ import annotations

from workers.machine.gpu_memory import await_free_memory
from workers.methods.trl.messages import Experience, Report, TrainerBuild


class TrainerActor:
    """Trainer whose calls take rollouts and return when the next rollouts are needed."""

    def start(self, build: TrainerBuild, start_step: int) -> Report:
        """Load the model, or its checkpoint, and return the initial report."""
        # Imported here, because the job's process imports this module but does not need TRL.
        from workers.methods.trl.trl_run import TrlRun

        await_free_memory()
        self._run = TrlRun(build, start_step)
        return self._run.start()

    def step(self, experience: Experience) -> Report:
        """Train on one round of rollouts."""
        return self._run.exchange(experience)
