"""Time of one generation or step by the paper's latency model.

Source:
    arXiv:2507.04453, Appendix B. G workers, eta seconds a sample, m workers an instance.
"""

from __future__ import annotations

from dataclasses import dataclass

ESSA_BYTES_PER_WORKER = 8
"""A seed and a reward, four bytes each."""


@dataclass(frozen=True)
class Link:
    """What workers exchange over."""

    bytes_per_s: float
    """Sustained, of one worker."""

    def all_gather_s(self, payload_bytes: float, workers: int) -> float:
        """Of an all-gather in a ring, to which every worker adds its share of the payload."""
        return payload_bytes * (workers - 1) / (workers * self.bytes_per_s)

    def all_reduce_s(self, payload_bytes: float, workers: int) -> float:
        """Of an all-reduce in a ring: every byte travels twice."""
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
    """T_ESSA: the population's rollouts over all workers, then an exchange of a few bytes.

    Args:
        population, batch: N candidates answer B prompts each.
        sample_s: of one worker, for one answer, with its batch full.
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
    """T*_grad: rollouts and gradients share the workers in the best proportion.

    Args:
        batch: samples of a step, all groups together.
        train_sample_s: forward and backward of one sample.
        gradient_bytes: all-reduced each step. The paper sets it to the whole model although its
            baseline trains LoRA; pass the adapter's bytes for that.
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
    """theta*: the share of workers that train, so that neither half waits for the other."""
    training = workers_per_trainer * train_sample_s
    return training / (training + workers_per_instance * sample_s)
