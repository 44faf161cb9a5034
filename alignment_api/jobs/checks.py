"""Checks of a job before it runs: its files, its columns and its reward."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from alignment_api.doctor.preflight import require_machine
from alignment_api.files.offline import uploaded_files
from alignment_api.files.rows import NumberedRow, read_rows
from alignment_api.forwarders.opening import integration_problems
from alignment_api.jobs.format_check import format_problems
from alignment_api.settings import Settings
from essa.calibration import text_columns
from essa.data import dataset_path, load_job_data
from essa.errors import DataError, EssaError
from essa.spec import (
    AdapterWarmStartSpec,
    AlignmentJobSpec,
    ChatPromptSpec,
    DatasetSpec,
    SftWarmStartSpec,
)
from essa.spec.reading.file import problem_error
from essa.spec.reading.problem import Problem
from essa.types import RenderedPrompt
from reward.base import Reward
from reward.errors import RewardError
from reward.registry import build_reward
from reward.resources import NOTHING_ALLOWED, RewardPolicy, RewardResources
from reward.spec.template import template_parts

ResolveFile = Callable[[str], Path]

_PACKAGE_MODEL = "package:"


def check_job(spec: AlignmentJobSpec, settings: Settings) -> None:
    """Check for everything that would stop a job, as far as possible without loading a model.

    Raises:
        SpecError: the job has faults; the message has a line for each.
        MachineError: this machine cannot run the job.
    """
    problems = find_problems(
        spec, uploaded_files(settings), settings.reward_policy, settings.cache_dir
    )
    if problems:
        raise problem_error(problems)
    require_machine(spec, settings)


def find_problems(
    spec: AlignmentJobSpec,
    resolve_file: ResolveFile,
    reward_policy: RewardPolicy = NOTHING_ALLOWED,
    cache_dir: Path | None = None,
    may_measure: bool = True,
) -> list[Problem]:
    """Find everything that would stop the job, as far as possible without loading a model.

    Args:
        spec: the job.
        resolve_file: returns the path of an uploaded file, or raises an EssaError.
        reward_policy: what the operator allows rewards to do.
        cache_dir: folder that caches this machine's number formats; None skips their check.
        may_measure: whether to measure formats that are not cached, which takes a few seconds.
    Returns:
        One problem per faulty setting; empty if the job can run.
    """
    problems = _model_problems(spec) + _warm_start_problems(spec)
    problems += integration_problems(spec.integrations, os.environ)
    if cache_dir is not None:
        problems += format_problems(spec, cache_dir, may_measure=may_measure)
    reward: Reward | None = None
    try:
        reward = build_reward(spec.reward, resources=RewardResources(reward_policy))
    except RewardError as error:
        problems.append(Problem(error.detail.get("field", "reward"), None, error.message))
    sets = {"train": spec.data.train, "validation": spec.data.validation, "test": spec.data.test}
    for name, dataset in sets.items():
        if dataset is not None:
            problems += _dataset_problems(spec, f"data.{name}", dataset, reward, resolve_file)
    problems += _calibration_problems(spec, resolve_file)
    return problems or _split_problems(spec, resolve_file)


def _model_problems(spec: AlignmentJobSpec) -> list[Problem]:
    path = spec.model.path
    if path.startswith(_PACKAGE_MODEL):
        package = path.removeprefix(_PACKAGE_MODEL)
        try:
            importlib.metadata.distribution(package)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            return [Problem("model.path", path, f"install the package {package!r} first")]
        return []
    if path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
        return [Problem("model.path", path, "there is no such folder; correct the path")]
    return []


def _warm_start_problems(spec: AlignmentJobSpec) -> list[Problem]:
    warm_start = spec.warm_start
    if isinstance(warm_start, AdapterWarmStartSpec):
        if not (Path(warm_start.path).expanduser() / "adapter_config.json").is_file():
            fix = "there is no adapter_config.json; give the folder of a PEFT adapter"
            return [Problem("warm_start.path", warm_start.path, fix)]
    elif isinstance(warm_start, SftWarmStartSpec):
        try:
            rows = read_rows(Path(warm_start.path).expanduser())
        except EssaError as error:
            return [Problem("warm_start.path", warm_start.path, error.message)]
        for row in rows:
            if not ({"prompt", "completion"} <= row.columns.keys() or "messages" in row.columns):
                fix = f"line {row.line} needs `prompt` and `completion`, or `messages`"
                return [Problem("warm_start.path", warm_start.path, fix)]
    return []


def _dataset_problems(
    spec: AlignmentJobSpec,
    field: str,
    dataset: DatasetSpec,
    reward: Reward | None,
    resolve_file: ResolveFile,
) -> list[Problem]:
    field, value = _source(field, dataset)
    try:
        rows = read_rows(dataset_path(dataset, resolve_file), dataset.limit, name=value)
    except EssaError as error:
        return [Problem(field, value, error.message)]
    fault = _prompt_fault(spec, rows) or _reward_fault(reward, rows)
    return [Problem(field, value, fault)] if fault else []


def _calibration_problems(spec: AlignmentJobSpec, resolve_file: ResolveFile) -> list[Problem]:
    quantization = spec.engine.quantization
    if quantization is None or quantization.calibration is None:
        return []
    dataset = quantization.calibration
    field, value = _source("engine.quantization.calibration", dataset)
    try:
        for row in read_rows(dataset_path(dataset, resolve_file), dataset.limit, name=value):
            text_columns(row.columns, row.line)
    except EssaError as error:
        return [Problem(field, value, error.message)]
    return []


def _source(field: str, dataset: DatasetSpec) -> tuple[str, str | None]:
    """Return the setting that names the data set, and its value."""
    if dataset.file_id is not None:
        return f"{field}.file_id", dataset.file_id
    return f"{field}.path", dataset.path


def _split_problems(spec: AlignmentJobSpec, resolve_file: ResolveFile) -> list[Problem]:
    """Check that missing splits can be cut from the data, by the same rule as the run."""
    try:
        load_job_data(
            spec.data,
            seed=spec.seed,
            resolve=lambda dataset: dataset_path(dataset, resolve_file),
            render=lambda row, line: RenderedPrompt(""),
        )
    except DataError as error:
        return [Problem(error.detail.get("field", "data"), None, error.message)]
    return []


def _prompt_fault(spec: AlignmentJobSpec, rows: Iterable[NumberedRow]) -> str | None:
    prompt = spec.data.prompt
    is_chat = isinstance(prompt, ChatPromptSpec)
    setting = "data.prompt.user" if is_chat else "data.prompt.template"
    template = prompt.user if is_chat else prompt.template
    names = [part.name for part in template_parts(template) if part.name is not None]
    for row in rows:
        if is_chat and "messages" in row.columns:
            continue
        for name in names:
            if name not in row.columns:
                return (
                    f"line {row.line} has no column {name!r}, which {setting} uses; it has "
                    f"{', '.join(sorted(row.columns)) or 'none'}"
                )
    return None


def _reward_fault(reward: Reward | None, rows: Iterable[NumberedRow]) -> str | None:
    if reward is None:
        return None
    for row in rows:
        try:
            reward.check_row(row.columns)
        except RewardError as error:
            return f"line {row.line} does not fit the reward: {error}"
    return None
