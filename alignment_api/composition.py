"""The service's only door to the workers: no other module imports them.

Each import stands inside its function, so the API process never loads torch, ray or vllm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, overload

from essa.events import ResultEvent
from essa.hub_access import require_base
from essa.number_format import MachineFormats
from essa.plan.job_speeds import JobSpeeds
from essa.ports import RunSite
from essa.spec import AlignmentJobSpec, ModelSpec, QuantizationSpec
from essa.spec.export import ExportSpec
from reward.resources import NOTHING_ALLOWED, RewardPolicy


class RunJob(Protocol):
    """The function that runs a job: `run_job`, or a replacement for it."""

    def __call__(
        self, spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy
    ) -> ResultEvent: ...


def run_job(
    spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy = NOTHING_ALLOWED
) -> ResultEvent:
    """Run one alignment job to its end in this process, resuming from its checkpoint if any.

    Args:
        spec: the job.
        site: where the job runs, and who receives its events.
        reward_policy: what the operator allows rewards to do.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: the job cannot be done.
    """
    require_base(spec.model.path)
    from workers.runner import run_alignment_job

    return run_alignment_job(spec, site, reward_policy)


def try_speeds(spec: AlignmentJobSpec, site: RunSite) -> JobSpeeds:
    """Measure how fast this machine would run a job: its engines, trainer and gate, seconds each.

    Args:
        spec: a job whose warm start samples from the base.
        site: its cache receives the prepared base; nothing is written to its run folder.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: the job cannot be done.
    """
    from workers.job.speed_trial import try_speeds as measure

    return measure(spec, site)


@overload
def machine_formats(
    cache_dir: Path | None, *, may_measure: Literal[True] = True
) -> MachineFormats: ...
@overload
def machine_formats(cache_dir: Path | None, *, may_measure: bool) -> MachineFormats | None: ...
def machine_formats(cache_dir: Path | None, *, may_measure: bool = True) -> MachineFormats | None:
    """Return which number formats are fast, emulated or impossible on this machine.

    Measuring takes a few seconds and happens in a process of its own.

    Args:
        cache_dir: folder of prepared models, which also caches the result; None always measures.
        may_measure: if False, return None when nothing is cached.
    Raises:
        EngineStartError: torch cannot be loaded here.
    """
    from workers.machine.format_probe import measured_formats, probe_in_child, remembered_formats

    if cache_dir is None:
        return probe_in_child()
    return measured_formats(cache_dir) if may_measure else remembered_formats(cache_dir)


def measure_drift(
    runs: Mapping[str, Path],
    task: AlignmentJobSpec,
    site: RunSite,
    reward_policy: RewardPolicy = NOTHING_ALLOWED,
) -> dict[str, dict[str, Any]]:
    """Measure how far runs' adapters moved from their base, and how they score on another task.

    Args:
        runs: folders of finished runs by name; they share base and warm start.
        task: a job whose test set, prompt, reward and rollouts define the other task.
        site: nothing is written to its run folder.
        reward_policy: what the operator allows rewards to do.
    Returns:
        By name (`base`, `warm_start`, then the runs), the fields of `workers.drift.Drift`.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: the drift cannot be measured.
    """
    from workers.drift import as_plain
    from workers.drift import measure_drift as measure

    return as_plain(measure(runs, task, site, reward_policy))


def quantize_model(
    model: ModelSpec,
    out: Path,
    *,
    scheme: str,
    settings: QuantizationSpec,
    calibration: Path | None,
    cache_dir: Path,
    is_replacing: bool,
    progress: Callable[[str], None],
) -> None:
    """Write a quantised checkpoint that vLLM can load.

    Args:
        model: the unquantised model.
        out: the checkpoint's folder; left complete, or as it was if this fails.
        scheme: such as `int4-w4a16-g128`.
        settings: method, layers kept at int8, number and length of the calibration texts.
        calibration: JSONL of calibration texts.
        cache_dir: folder of prepared models.
        is_replacing: whether a model already at `out` may be replaced.
        progress: called with one line of text per step.
    Raises:
        EssaError: the model cannot be quantised this way.
    """
    require_base(model.path)
    from workers.models.standalone import write_quantized

    write_quantized(
        model,
        out,
        scheme=scheme,
        settings=settings,
        calibration=calibration,
        cache_dir=cache_dir,
        is_replacing=is_replacing,
        progress=progress,
    )


def write_export(
    run_dir: Path,
    spec: ExportSpec,
    folder: Path,
    *,
    cache_dir: Path,
    progress: Callable[[str], None],
) -> None:
    """Fill an empty folder with an export of a run and its model card.

    Only formats that read the base load torch, so the API process can write an adapter itself.

    Args:
        run_dir: the run's folder.
        spec: the export's format, precision and checkpoint.
        folder: an empty folder.
        cache_dir: folder of prepared models.
        progress: called with one line of text per step.
    Raises:
        JobConflictError: the run has not got that far yet.
        EssaError: the run cannot be exported this way.
    """
    from workers.export.write import write_export as write

    write(run_dir, spec, folder, cache_dir=cache_dir, progress=progress)


def model_card(run_dir: Path, spec: ExportSpec) -> str:
    """Return the model card of an export, in Markdown, without loading torch.

    Args:
        run_dir: the run's folder.
        spec: the export.
    Raises:
        JobConflictError: the run has not got that far yet.
    """
    from workers.export.card import model_card as card
    from workers.export.source import RunSource

    return card(RunSource(run_dir), spec)
