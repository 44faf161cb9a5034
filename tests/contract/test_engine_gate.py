"""The gate lets right engines pass, in every format, and refuses ones that run adapters wrongly."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from essa.number_format import Activations

pytest.importorskip("vllm")

import ray
from ray import cloudpickle

from essa.errors import EngineGateError
from essa.events import Event, GateEvent
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.ports import EventSink
from essa.spec import ModelSpec, Precision, TransformersEngineSpec, VllmEngineSpec
from workers.cluster.placement import plan_placement
from workers.cluster.pool import EnginePool
from workers.cluster.ray_cluster import ray_cluster
from workers.engines.build import EngineBuild
from workers.gate.stage import pass_gate
from workers.machine.native_format import native_activations
from workers.models.store import ModelStore

pytestmark = [pytest.mark.engine, pytest.mark.cores]

# Functions of this file go to the engines' processes whole: there, `tests` may be a package that
# another distribution has put beside the installed ones.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PROMPTS = [tuple(range(5 + i, 25 + 2 * i)) for i in range(4)]


class Recorder(EventSink):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Bench:
    """A pool on a tiny model, and how to send it through the gate."""

    pool: EnginePool
    codec: SingularValueCodec
    spec: Any
    folder: Path
    cache_dir: Path
    activations: Activations

    def gate(self, key: str, prompts: list[tuple[int, ...]] = PROMPTS) -> GateEvent:
        """Each `key` is a model never seen before, so that nothing is remembered."""
        sink = Recorder()
        pass_gate(
            self.pool, self.codec, self.spec, prompts, model_folder=self.folder, model_digest=key,
            activations=self.activations,
            cache_dir=self.cache_dir, seed=3, sink=sink, say=lambda text, *counted, **named: None,
        )  # fmt: skip
        (event,) = sink.events
        assert isinstance(event, GateEvent)
        return event

    def in_engine(self, change: Callable[[Any], None]) -> None:
        """Run `change(worker)` in the engine's process, with vLLM's worker."""

        def apply(actor: Any) -> None:
            core = actor._engine._llm.engine_core.engine_core
            change(core.model_executor.driver_worker.worker)

        ray.get(self.pool._workers[0].actor.__ray_call__.remote(apply))


@pytest.fixture(scope="module")
def nodes() -> Iterator[list]:
    with ray_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def codec(tiny_adapter) -> SingularValueCodec:
    return SingularValueCodec(AdapterBasis.decompose(tiny_adapter(strength=0.3), "factors", 1.0))


def _start(spec, folder: Path, codec: SingularValueCodec, nodes, cache_dir: Path) -> Bench:
    build = EngineBuild(
        spec=spec,
        model_path=str(folder),
        max_population=6,
        rank=4,
        target_modules=("q_proj", "k_proj", "v_proj", "o_proj"),
        has_core=True,
        seed=0,
    )
    pool = EnginePool(build, plan_placement(spec, nodes))
    pool.start()
    pool.load_basis(codec.engine_basis())
    return Bench(pool, codec, spec, folder, cache_dir, native_activations(spec.precision))


def _vllm(precision: Precision) -> VllmEngineSpec:
    return VllmEngineSpec(
        precision=precision, kv_cache_gib=0.2, max_model_len=80, cores_per_worker=1
    )


@pytest.fixture(scope="module")
def bench(tiny_model, codec, nodes, tmp_path_factory) -> Iterator[Bench]:
    started = _start(
        _vllm(Precision.FP32), tiny_model("qwen2"), codec, nodes, tmp_path_factory.mktemp("gate")
    )
    yield started
    started.pool.close()


def test_a_right_engine_passes_and_is_remembered(bench):
    event = bench.gate("right")
    assert not event.cached
    assert event.base_nats < 0.01
    assert event.warm_start_nats < 0.01
    assert event.zeroed_nats == 0.0
    assert len(event.candidates) == 2
    assert max(event.candidates) < 0.02
    assert event.effect_nats > 0.5
    again = bench.gate("right")
    assert again.cached
    assert again.candidates == event.candidates


def test_prompts_longer_than_the_context_are_cut(bench):
    long = [prompt * 10 for prompt in PROMPTS]
    assert bench.gate("long prompts", long).base_nats < 0.01


def _rotate_slots(worker: Any) -> None:
    stock = worker.population_slots

    def rotated() -> dict[int, int]:
        slots = stock()
        numbers = sorted(slots)
        return {
            number: slots[other]
            for number, other in zip(numbers, numbers[1:] + numbers[:1], strict=True)
        }

    worker.population_slots = rotated


def _restore_slots(worker: Any) -> None:
    del worker.population_slots


def _scale_by(factor: float) -> Callable[[Any], None]:
    def change(worker: Any) -> None:
        from workers.engines.vllm_population import linear_layers

        for layer in linear_layers(worker.model_runner.lora_manager._adapter_manager).values():
            layer.essa_buffers.expand.mul_(factor)

    return change


def _swap_q_and_v(worker: Any) -> None:
    # Modules follow each other as q, k, v, o with 2 x 4 columns each, two layers.
    columns = worker._essa_columns.reshape(2, 4, 8)
    worker._essa_columns = columns[:, [2, 1, 0, 3]].reshape(-1).copy()


@pytest.mark.parametrize(
    ("name", "break_it", "mend_it"),
    [
        ("wrong slot", _rotate_slots, _restore_slots),
        ("wrong scale", _scale_by(1.5), _scale_by(1 / 1.5)),
        ("q and v swapped", _swap_q_and_v, _swap_q_and_v),
    ],
)
def test_a_broken_adapter_path_is_refused(bench, name, break_it, mend_it):
    bench.in_engine(break_it)
    try:
        with pytest.raises(EngineGateError, match=r"random candidate .* off by") as caught:
            bench.gate(f"broken: {name}")
        assert max(caught.value.detail["measurement"]["candidates"]) > 0.4
    finally:
        bench.in_engine(mend_it)
    assert not bench.gate(f"mended: {name}").cached


def test_an_adapter_that_leaks_into_the_base_is_refused(bench):
    def leak(worker: Any) -> None:
        worker.model_runner.lora_manager._adapter_manager.essa_table[-1] = 0.5

    def mend(worker: Any) -> None:
        worker.model_runner.lora_manager._adapter_manager.essa_table[-1] = 0.0

    bench.in_engine(leak)
    try:
        with pytest.raises(EngineGateError, match="all zero differs"):
            bench.gate("leak")
    finally:
        bench.in_engine(mend)


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.INT4])
def test_quantised_bases_pass_on_vllm(
    tiny_model, codec, nodes, tmp_path, precision, activations_here
):
    activations_here(precision)
    store = ModelStore(tmp_path)
    base = store.base(ModelSpec(path=str(tiny_model("llama"))))
    bench = _start(_vllm(precision), store.quantized(base, precision), codec, nodes, tmp_path)
    try:
        event = bench.gate("quantised")
    finally:
        bench.pool.close()
    assert event.zeroed_nats == 0.0
    assert max(event.candidates) < 0.3


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
def test_bitsandbytes_bases_pass_on_transformers(tiny_model, codec, nodes, tmp_path, precision):
    spec = TransformersEngineSpec(precision=precision, cores_per_worker=1)
    bench = _start(spec, tiny_model("llama"), codec, nodes, tmp_path)
    try:
        event = bench.gate("bitsandbytes")
    finally:
        bench.pool.close()
    assert max(event.candidates) < 0.3


def test_a_warm_start_too_weak_to_be_searched_is_named(bench, tiny_adapter):
    from dataclasses import replace

    from essa.parametrize.adapter import LoraAdapter

    adapter = tiny_adapter()
    faint = tuple(replace(module, scaling=1e-9) for module in adapter.modules)
    weak = SingularValueCodec(
        AdapterBasis.decompose(LoraAdapter(faint, adapter.config), "factors", 1.0)
    )
    bench.pool.load_basis(weak.engine_basis())
    try:
        with pytest.raises(EngineGateError, match="too weak"):
            replace(bench, codec=weak).gate("weak")
    finally:
        bench.pool.load_basis(bench.codec.engine_basis())
