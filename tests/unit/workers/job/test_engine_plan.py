"""Which checkpoint engines load, which texts calibrate it, and where a pool may start."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from essa.number_format import Activations
from essa.spec import Precision
from tests.narrowing import present

pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")

import torch
from safetensors.torch import load_file

from essa.data import JobData
from essa.errors import SpecError
from essa.events import StageEvent
from essa.ports import RunControl, RunSite
from essa.spec import (
    AlignmentJobSpec,
    DatasetSpec,
    ModelSpec,
    QuantizationSpec,
    TextPromptSpec,
    TransformersEngineSpec,
    VllmEngineSpec,
)
from essa.testing import RecordingSink
from essa.types import Row
from reward.registry import build_reward
from workers.cluster.placement import Node
from workers.job.context import JobContext, JobRun
from workers.job.engine_plan import EnginePlan, engine_placements, plan_engines
from workers.models.store import ModelStore, PreparedModel
from workers.prompting import PromptEncoder
from workers.serving import serving_engine

TEXTS = tuple(f"{word} number {n}." for n in range(4) for word in ("river", "stone"))
GPTQ = {"method": "gptq", "samples": 8}


class NeverCancelled(RunControl):
    def is_cancelled(self) -> bool:
        return False


class Calibration:
    """Calibration texts that count how often they were asked for."""

    def __init__(self, texts: Sequence[str] = TEXTS) -> None:
        self._texts = texts
        self.asked = 0

    def __call__(self) -> Sequence[str]:
        self.asked += 1
        return self._texts


@pytest.fixture
def store(tmp_path) -> ModelStore:
    return ModelStore(tmp_path / "cache")


@pytest.fixture
def base(store, tiny_model) -> PreparedModel:
    return store.base(ModelSpec(path=str(tiny_model("llama"))))


def vllm(precision: str, **quantization: Any) -> VllmEngineSpec:
    settings = QuantizationSpec.model_validate(quantization) if quantization else None
    return VllmEngineSpec(precision=Precision(precision), quantization=settings)


@pytest.fixture
def plan(store, base) -> Callable[..., EnginePlan]:
    def make(
        spec,
        texts: Callable[[], Sequence[str]] | None = None,
        activations: Activations = "bfloat16",
    ) -> EnginePlan:
        return plan_engines(
            store, base, spec, activations, texts or Calibration(), lambda message: None
        )

    return make


# -- which checkpoint -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        vllm("bf16"),
        vllm("fp32"),
        # bitsandbytes rounds as it loads.
        TransformersEngineSpec(precision=Precision.INT8),
        TransformersEngineSpec(precision=Precision.INT4),
    ],
)
def test_engines_that_take_the_base_as_it_is_ask_for_no_texts(plan, base, spec):
    texts = Calibration()
    assert plan(spec, texts) == EnginePlan(spec, base.folder, base.digest, "bfloat16")
    assert texts.asked == 0


@pytest.mark.parametrize("spec", [vllm("int8"), vllm("int4"), vllm("int4", group_size=32)])
def test_rounding_to_nearest_asks_for_no_texts_and_has_its_own_digest(plan, store, base, spec):
    texts = Calibration()
    made = plan(spec, texts)
    assert texts.asked == 0
    assert made.model_folder != base.folder
    assert made.model_digest == store.digest(made.model_folder) != base.digest
    assert "quantization_config" in json.loads((made.model_folder / "config.json").read_text())


def test_bf16_weights_keep_their_rounding_under_activations_of_float32(plan, store, base):
    """The tiny model is stored in float32, with more digits than bf16 has."""
    made = plan(vllm("bf16"), activations="float32")
    assert made.activations == "float32"
    exact = load_file(base.folder / "model.safetensors")
    rounded = load_file(made.model_folder / "model.safetensors")
    assert rounded.keys() == exact.keys()
    assert all(torch.equal(rounded[name], exact[name].bfloat16()) for name in exact)
    assert any((rounded[name].float() != exact[name]).any() for name in exact)
    assert plan(vllm("fp32"), activations="float32").model_folder == base.folder
    # What is stored in bf16 is taken as it is.
    stored = PreparedModel(made.model_folder, made.model_digest, "stored")
    assert store.rounded(stored) == made.model_folder


def test_calibrated_checkpoints_are_made_of_the_texts_they_asked_for(plan):
    texts = Calibration()
    made = plan(vllm("int4", **GPTQ), texts)
    assert texts.asked == 1
    assert plan(vllm("int4", **GPTQ), Calibration()) == made
    others = plan(vllm("int4", **GPTQ), Calibration(tuple(text.upper() for text in TEXTS)))
    assert others.model_folder != made.model_folder
    assert others.model_digest != made.model_digest
    assert made.model_digest != plan(vllm("int4")).model_digest


def test_layers_kept_at_int8_are_found_on_texts(plan):
    texts = Calibration()
    made = plan(vllm("int4", keep_int8=1, samples=2), texts)
    assert texts.asked == 1
    assert made.model_digest != plan(vllm("int4")).model_digest


def test_digest_of_a_checkpoint_is_of_its_content(plan, store, tmp_path):
    made = plan(vllm("int8"))
    copy = Path(shutil.copytree(made.model_folder, tmp_path / "copy"))
    assert store.digest(copy) == made.model_digest
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert store.digest(copy) != made.model_digest


# -- which texts ----------------------------------------------------------------------------


class Job:
    """A job on a tiny model, up to the point where engines would start."""

    def __init__(self, store: ModelStore, base: PreparedModel, folder: Path) -> None:
        self._store, self._base, self._folder = store, base, folder
        self.sink = RecordingSink()

    def context(
        self,
        quantization: dict[str, Any],
        resolve: Callable[[DatasetSpec], Path] = lambda dataset: Path(present(dataset.path)),
    ) -> JobContext:
        spec = AlignmentJobSpec.model_validate(
            {
                "model": {"path": str(self._base.folder)},
                "data": {"train": {"path": "train.jsonl"}, "prompt": {"type": "text"}},
                "reward": {"type": "regex", "pattern": "^[A-Z]"},
                "engine": {"kind": "vllm", "precision": "int4", "quantization": quantization},
            }
        )
        rows = tuple(Row(index, f"train {index}:") for index in range(3))
        return JobContext(
            JobRun(
                spec, RunSite(self._folder, self._folder, self.sink, NeverCancelled(), Path), 0.0
            ),
            self._store,
            self._base,
            PromptEncoder(self._base.folder, TextPromptSpec()),
            JobData(train=rows, validation=rows, test=rows),
            build_reward(spec.reward),
            resolve,
        )

    def calibrated_on(self) -> list[str]:
        said = [event.message for event in self.sink.of(StageEvent)]
        return [line for line in said if line.startswith("calibrating on")]


@pytest.fixture
def job(store, base, tmp_path) -> Job:
    return Job(store, base, tmp_path)


def test_training_prompts_calibrate_where_no_set_is_given(job):
    context = job.context(GPTQ)
    context.plan(context.job.spec.engine, "bfloat16")
    # One token per character.
    assert job.calibrated_on() == [f"calibrating on 3 texts, {3 * len('train 0:')} tokens"]


def test_a_calibration_set_is_read_up_to_its_limit(job, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": "a" * length}) + "\n" for length in (5, 7, 60)))
    asked = []

    def resolve(dataset: DatasetSpec) -> Path:
        asked.append(dataset.file_id)
        return path

    context = job.context({**GPTQ, "calibration": {"file_id": "file-1", "limit": 2}}, resolve)
    context.plan(context.job.spec.engine, "bfloat16")
    assert asked == ["file-1"]
    assert job.calibrated_on() == ["calibrating on 2 texts, 12 tokens"]


def test_the_base_that_is_served_after_gptq_needs_no_texts(job, base):
    context = job.context(GPTQ)
    assert context.plan(serving_engine(context.job.spec), "bfloat16").model_folder == base.folder
    assert job.calibrated_on() == []


# -- where a pool may start -----------------------------------------------------------------


def placed(
    nodes: Sequence[Node], *, is_invariant: bool, activations: Activations = "bfloat16"
) -> int:
    """Engines that would start there."""
    spec = AlignmentJobSpec.model_validate(
        {
            "model": {"path": "model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
            "engine": {"kind": "vllm", "workers": 2},
            "rollout": {"batch_invariant": is_invariant},
        }
    )
    plan = EnginePlan(spec.engine, Path("model"), "digest", activations)
    return len(engine_placements(spec, plan, nodes))


@pytest.mark.parametrize(
    ("node", "where"), [(Node("a", cpus=4), "2 cores"), (Node("a", cpus=8, gpus=2), "a GPU")]
)
def test_batch_invariance_is_refused_where_an_engine_does_not_have_one_core(node, where):
    with pytest.raises(SpecError, match=f"an engine gets {where}; it needs one CPU") as caught:
        placed([node], is_invariant=True)
    assert caught.value.detail["field"] == "rollout.batch_invariant"
    assert "set engine.cores_per_worker to 1" in str(caught.value)
    assert placed([node], is_invariant=False) == 2


def test_batch_invariance_starts_on_one_core_per_engine():
    assert placed([Node("a", cpus=2)], is_invariant=True) == 2


def test_batch_invariance_is_refused_where_activations_are_float32():
    node = Node("a", cpus=2)
    with pytest.raises(SpecError, match="float32 activations") as caught:
        placed([node], is_invariant=True, activations="float32")
    assert caught.value.detail["field"] == "rollout.batch_invariant"
    assert placed([node], is_invariant=False, activations="float32") == 2
