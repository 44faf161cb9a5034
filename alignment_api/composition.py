"""Where the service meets the workers: the only module that imports them.

The import stands inside the function, so the API process never loads torch, ray or vllm.
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
    """What runs a job: `run_job`, or a script in its place."""

    def __call__(
        self, spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy
    ) -> ResultEvent: ...


def run_job(
    spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy = NOTHING_ALLOWED
) -> ResultEvent:
    """Run one alignment job to its end in this process; resume where its folder has a checkpoint.

    Args:
        spec: the job.
        site: where it runs, and whom it tells.
        reward_policy: what the operator lets rewards do.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: the job cannot be done.
    """
    require_base(spec.model.path)
    from workers.runner import run_alignment_job

    return run_alignment_job(spec, site, reward_policy)


def try_speeds(spec: AlignmentJobSpec, site: RunSite) -> JobSpeeds:
    """How fast this machine would do a job: its engines, trainer and gate, for seconds each.

    Args:
        spec: a job whose warm start samples from the base.
        site: the base is prepared into its cache; nothing is written to its run's folder.
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
    """Which number formats are fast, emulated or impossible on this machine.

    Measuring takes some seconds, in a process of its own.

    Args:
        cache_dir: folder of prepared models, where it is remembered; None measures anew.
        may_measure: False answers None where nothing is remembered.
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
    """How far the adapters of runs have moved from their base, and how they do on another task.

    Args:
        runs: folders of finished runs by name; they share base and warm start.
        task: a job whose test set, prompt, reward and rollouts are that task.
        site: nothing is written to its run's folder.
        reward_policy: what the operator lets rewards do.
    Returns:
        By name (`base`, `warm_start`, then the runs) what `workers.drift.Drift` says.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: it cannot be measured.
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
    """Write a quantised checkpoint that vLLM loads.

    Args:
        model: the unquantised model.
        out: its folder; complete afterwards, or as it was.
        scheme: such as `int4-w4a16-g128`.
        settings: method, layers kept at int8, how much of the texts to use.
        calibration: JSONL of calibration texts.
        cache_dir: folder of prepared models.
        is_replacing: a model that stands at `out` may be replaced.
        progress: told one line a step.
    Raises:
        EssaError: the model cannot be quantised that way.
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

    Only the formats that read the base load torch; an adapter can be written in the API process.

    Args:
        run_dir: the run's folder.
        spec: what to write.
        folder: an empty folder.
        cache_dir: folder of prepared models.
        progress: told one line a step.
    Raises:
        JobConflictError: the run has not come so far.
        EssaError: it cannot be exported that way.
    """
    from workers.export.write import write_export as write

    write(run_dir, spec, folder, cache_dir=cache_dir, progress=progress)


def model_card(run_dir: Path, spec: ExportSpec) -> str:
    """The model card of an export, in Markdown. Loads no torch.

    Args:
        run_dir: the run's folder.
        spec: the export.
    Raises:
        JobConflictError: the run has not come so far.
    """
    from workers.export.card import model_card as card
    from workers.export.source import RunSource

    return card(RunSource(run_dir), spec)
