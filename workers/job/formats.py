"""What a run computes in: decided at its first start from what its machines can do, then kept."""

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
"""Share of the free memory that bases and caches may fill: torch and the adapter need some."""


def settle_formats(
    spec: AlignmentJobSpec,
    *,
    run_dir: Path | None,
    cache_dir: Path,
    model_folder: Path,
    nodes: Sequence[Node],
    is_elsewhere: bool,
) -> tuple[ChosenFormats, FormatEvent]:
    """Take what an earlier start has taken, or choose and write it down.

    Args:
        run_dir: the run's folder; None chooses and writes nothing down.
        model_folder: the base, whose size decides what fits.
        nodes: those of the cluster.
        is_elsewhere: True where the cluster is not this machine alone.
    Raises:
        SpecError: a precision that was asked for is impossible here, or the run's own is.
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
    """What a run computes in; None before its first start.

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
    """Whether so many engines with such a base fit into this machine's free memory.

    Of GPUs, and of machines of a cluster, nothing is known here: everything fits.
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
    """What every node that engines could run on does; GPUs only where there are any."""
    # Without holding one: another job may have them all.
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
