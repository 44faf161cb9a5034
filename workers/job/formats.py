"""Number formats of a run: chosen when it first starts, from those of its machines, then kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from pydantic import ValidationError
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from essa.errors import ClusterError, EssaError, SpecError
from essa.events import FormatEvent
from essa.number_format import (
    ChosenFormats,
    FormatStatus,
    MachineFormats,
    choose_formats,
    product_format,
    slowest,
)
from essa.plan.shape import read_shape
from essa.records.folder import FORMATS_FILE
from essa.spec import AlignmentJobSpec, Precision
from essa.storage.atomic_file import write_file
from workers.cluster.placement import Node
from workers.gate.reference import available_bytes
from workers.machine.format_probe import measured_formats, probe_in_child

PROBE_TIMEOUT_S = 300.0
MEMORY_FRAC = 0.8
"""Share of the free memory that bases and caches may fill; torch and the adapter need the rest."""


def settle_formats(
    spec: AlignmentJobSpec,
    *,
    run_dir: Path | None,
    cache_dir: Path,
    model_folder: Path,
    nodes: Sequence[Node],
    is_elsewhere: bool,
) -> tuple[ChosenFormats, FormatEvent]:
    """Take the formats recorded by an earlier start, or choose and record them.

    Args:
        spec: specification of the job.
        run_dir: the run's folder; None chooses and records nothing.
        cache_dir: folder of prepared models.
        model_folder: folder of the base, whose size determines which precisions fit.
        nodes: nodes of the cluster.
        is_elsewhere: True if the cluster has other machines than this one.
    Raises:
        SpecError: this machine does not support a requested precision, or the recorded one.
    """
    machine = _of_cluster(nodes) if is_elsewhere else measured_formats(cache_dir)
    chosen = None if run_dir is None else read_formats(run_dir)
    if chosen is not None:
        _check_still_possible(chosen, machine)
    else:
        fits = _fits(spec, machine, model_folder, nodes)
        chosen = choose_formats(spec.engine, spec.serving_precision, machine, fits)
        if run_dir is not None:
            content = chosen.model_dump_json(indent=2) + "\n"
            write_file(run_dir / FORMATS_FILE, content.encode())
    event = FormatEvent(
        **chosen.model_dump(mode="json"),
        formats={str(one.format): str(one.status) for one in machine.formats},
    )
    return chosen, event


def read_formats(run_dir: Path) -> ChosenFormats | None:
    """Return the number formats of a run; None before its first start.

    Raises:
        SpecError: the file is damaged.
    """
    path = run_dir / FORMATS_FILE
    try:
        return ChosenFormats.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise SpecError(f"{path} is damaged: {error}; restore it or clone the job") from error


def _check_still_possible(chosen: ChosenFormats, machine: MachineFormats) -> None:
    for wanted in (
        product_format(chosen.precision, chosen.activations),
        product_format(chosen.serving, chosen.serving_activations),
    ):
        if machine[wanted].status is FormatStatus.IMPOSSIBLE:
            raise SpecError(
                f"the run computes in {wanted} since its first start ({FORMATS_FILE}), which "
                "is impossible on this machine; resume it where it ran before, or clone the job",
                field="engine.precision",
            )


def _fits(
    spec: AlignmentJobSpec, machine: MachineFormats, folder: Path, nodes: Sequence[Node]
) -> Callable[[Precision], bool]:
    """Return whether the job's engines, with a base in a precision, fit into free memory.

    For GPUs and clusters the free memory is unknown here, so everything counts as fitting.
    """
    try:
        shape = read_shape(json.loads((folder / "config.json").read_text()))
    except (OSError, ValueError, EssaError):
        return lambda precision: True
    if machine.is_gpu or len(nodes) > 1:
        return lambda precision: True
    cache = getattr(spec.engine, "kv_cache_gib", 0.0) * 2**30

    def fits(precision: Precision) -> bool:
        widened = precision is Precision.BF16 and machine.activations(precision) == "float32"
        base = shape.weight_bytes(Precision.FP32 if widened else precision)
        return spec.engine.workers * (base + cache) <= MEMORY_FRAC * available_bytes()

    return fits


def _of_cluster(nodes: Sequence[Node]) -> MachineFormats:
    """Return the formats of all nodes on which engines could run: GPU nodes only, if any exist."""
    # The probe reserves no GPU, because another job may hold all of them.
    with_gpus = [node for node in nodes if node.gpus]
    ask: Any = ray.remote(num_cpus=0, max_retries=0)(probe_in_child)
    answers = {
        node: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
        ).remote(sees_gpus=node.gpus > 0)
        for node in with_gpus or [node for node in nodes if node.cpus]
    }
    found = []
    for node, answer in answers.items():
        try:
            found.append(ray.get(answer, timeout=PROBE_TIMEOUT_S))
        except (GetTimeoutError, RayError) as error:
            reason = str(error).strip().partition("\n")[0] or "it did not answer"
            raise ClusterError(
                f"Ray node {node.address} could not try its number formats: {reason}"
            ) from error
    return slowest(found)
