"""Time of one generation or step by the paper's latency model.

Source:
    arXiv:2507.04453, Appendix B. G workers, eta seconds per sample, m workers per instance.
"""

from __future__ import annotations

from dataclasses import dataclass

ESSA_BYTES_PER_WORKER = 8
"""Bytes that a worker sends per generation: a seed and a reward, four bytes each."""


@dataclass(frozen=True)
class Link:
    """Network link of a worker."""

    bytes_per_s: float
    """Sustained rate of one worker."""

    def all_gather_s(self, payload_bytes: float, workers: int) -> float:
        """Return the time of a ring all-gather; every worker holds its share of the payload."""
        return payload_bytes * (workers - 1) / (workers * self.bytes_per_s)

    def all_reduce_s(self, payload_bytes: float, workers: int) -> float:
        """Return the time of a ring all-reduce, in which every byte travels twice."""
        return 2 * self.all_gather_s(payload_bytes, workers)


def essa_generation_s(
    *,
    population: int,
    batch: int,
    sample_s: float,
    workers: int,
    link: Link,
    workers_per_instance: int = 1,
) -> float:
    """Return T_ESSA: the population's rollouts over all workers, then an exchange of a few bytes.

    Args:
        population, batch: N candidates, each of which answers B prompts.
        sample_s: seconds of one instance per answer, with a full batch.
    """
    rollouts_s = population * batch * workers_per_instance * sample_s / workers
    return rollouts_s + link.all_gather_s(ESSA_BYTES_PER_WORKER, workers)


def gradient_step_s(
    *,
    batch: int,
    sample_s: float,
    train_sample_s: float,
    gradient_bytes: float,
    workers: int,
    link: Link,
    workers_per_instance: int = 1,
    workers_per_trainer: int = 1,
) -> float:
    """Return T*_grad: rollouts and gradients share the workers in the best proportion.

    Args:
        batch: samples of a step, over all groups.
        sample_s: seconds of one instance per answer, with a full batch.
        train_sample_s: seconds of the forward and backward passes of one sample.
        gradient_bytes: bytes of the all-reduce in each step. The paper uses the whole model's
            gradients although its baseline trains LoRA; for LoRA pass the adapter's.
    """
    share_s = workers_per_trainer * train_sample_s + workers_per_instance * sample_s
    return batch / workers * share_s + link.all_reduce_s(gradient_bytes, workers)


def trainer_share(
    *,
    sample_s: float,
    train_sample_s: float,
    workers_per_instance: int = 1,
    workers_per_trainer: int = 1,
) -> float:
    """Return theta*, the share of workers that train such that neither part waits for the other."""
    training = workers_per_trainer * train_sample_s
    return training / (training + workers_per_instance * sample_s)
