"""What only the transformers engine promises; the rest is in the engine contract."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.narrowing import present

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import PeftModel  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig  # noqa: E402

from essa.errors import EngineError, EngineStartError  # noqa: E402
from essa.parametrize.adapter import LoraAdapter, LoraModule, write_adapter  # noqa: E402
from essa.parametrize.basis import AdapterBasis  # noqa: E402
from essa.parametrize.codec import SingularValueCodec  # noqa: E402
from workers.engines.base import BASE, SamplingParameters  # noqa: E402
from workers.engines.batch_decoding import Rollout, decode_batch  # noqa: E402
from workers.engines.transformers_engine import TransformersEngine  # noqa: E402

pytestmark = pytest.mark.engine

PROMPTS = ("to be or not", "a", "The quick brown fox jumps over it", "12+34=", "x y z")
QUANTISED = {
    "int8": BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0),
    "int4": BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
    ),
    "bf16": None,
}


@pytest.fixture(scope="module")
def codec(tiny_adapter) -> SingularValueCodec:
    return SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), "factors", alpha=1.0))


@pytest.fixture(scope="module")
def model(tiny_model) -> Path:
    return tiny_model("qwen2")


@pytest.fixture(scope="module")
def prompts(model) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]


def _start(model: Path, codec: SingularValueCodec | None, population: int = 3, **arguments):
    settings = {"precision": "fp32", "max_batch": 64, "max_population": 8, "device": "cpu"}
    settings |= arguments
    if settings["precision"] != "fp32":
        # What they are compared with computes in it on every machine.
        settings["activations"] = "bfloat16"
    engine = TransformersEngine(model, **settings)
    if codec is not None:
        engine.load_basis(codec.engine_basis())
        engine.set_population(codec.scales(_vectors(codec, population)))
    return engine


def _vectors(codec: SingularValueCodec, count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, codec.dimension))


@pytest.mark.parametrize("precision", sorted(QUANTISED))
def test_reduced_precision_agrees_with_peft_over_the_same_base(
    model, codec, prompts, tmp_path, precision
):
    engine = _start(model, codec, precision=precision)
    parameters = SamplingParameters(max_tokens=12, with_logprobs=True)
    answers = engine.generate([1] * len(prompts), prompts, parameters)
    base_answers = engine.generate([BASE] * len(prompts), prompts, parameters)
    write_adapter(codec.export(_vectors(codec, 3)[1]), tmp_path / "adapter")
    reference = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(
            model,
            dtype=torch.bfloat16,
            quantization_config=QUANTISED[precision],
            device_map={"": "cpu"},
        ),
        tmp_path / "adapter",
    ).eval()
    own: list[float] = []
    other: list[float] = []
    base: list[float] = []
    for prompt, ((answer,), (base_answer,)) in zip(
        prompts, zip(answers, base_answers, strict=True), strict=True
    ):
        own += present(answer.token_logprobs)
        other += _teacher_forced(reference, prompt, answer.token_ids)
        with reference.disable_adapter():
            base += np.subtract(
                present(base_answer.token_logprobs),
                _teacher_forced(reference, prompt, base_answer.token_ids),
            ).tolist()
    # Logits of these models are around 4, where bfloat16 neighbours are 1/32 apart; int8 rounds
    # activations too.
    assert np.abs(np.subtract(own, other)).mean() < 0.02
    assert np.abs(np.subtract(own, other)).max() < 0.12
    assert np.abs(base).max() < 0.12
    assert answers != base_answers


def _teacher_forced(network, prompt: list[int], answer: tuple[int, ...]) -> list[float]:
    tokens = torch.tensor([[*prompt, *answer]])
    with torch.no_grad():
        logprobs = network(tokens).logits[0].float().log_softmax(-1)
    first = len(prompt) - 1
    return [float(logprobs[first + i, token]) for i, token in enumerate(answer)]


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_quantised_engines_really_quantise(model, codec, precision):
    engine = _start(model, codec, precision=precision)
    layer = present(engine._source).model.get_submodule("model.layers.0.self_attn.q_proj")
    kind = {"int8": "Linear8bitLt", "int4": "Linear4bit"}[precision]
    assert type(layer).__name__ == kind
    assert layer.weight.dtype in (torch.int8, torch.uint8)


def test_samples_do_not_depend_on_the_batch(model, codec, prompts):
    # Stop strings make the rows leave the batch at different steps.
    stops = ("e", "a", "7", "Q", "+", "(", "x")
    parameters = SamplingParameters(12, temperature=0.8, samples=2, seed=3, stop=stops)
    candidates = [0, 1, 2, BASE, 0]
    together = _start(model, codec, max_batch=64).generate(candidates, prompts, parameters)
    lengths = {len(sample.token_ids) for samples in together for sample in samples}
    assert len(lengths) > 3
    small = _start(model, codec, max_batch=3)
    assert small.generate(candidates, prompts, parameters) == together
    for candidate, prompt, expected in zip(candidates, prompts, together, strict=True):
        assert small.generate([candidate], [prompt], parameters) == [expected]


def test_identical_candidates_get_identical_draws(model, codec, prompts):
    engine = _start(model, codec)
    engine.set_population(codec.scales(np.repeat(_vectors(codec, 1), 2, axis=0)))
    parameters = SamplingParameters(max_tokens=12, temperature=1.0, seed=3)
    first, second = engine.generate([0, 1], [prompts[0]] * 2, parameters)
    assert first[0].text == second[0].text


def test_samples_follow_the_tempered_distribution(model, prompts):
    engine = _start(model, None)
    count, temperature = 4000, 2.5
    sampled = SamplingParameters(max_tokens=1, temperature=temperature, samples=count, seed=9)
    (row,) = engine.generate([BASE], [prompts[0]], sampled)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        logits = network(torch.tensor([prompts[0]])).logits[0, -1]
    expected = (logits / temperature).softmax(-1).numpy()
    measured = np.bincount([c.token_ids[0] for c in row], minlength=len(expected)) / count
    spread = np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(measured - expected) < 4.5 * spread + 2 / count).all()
    assert np.abs(measured - expected).max() < 0.02
    assert np.abs(measured - logits.softmax(-1).numpy()).max() > 0.08


def test_logprobs_are_those_of_untempered_logits(model, prompts):
    engine = _start(model, None)
    sampled = SamplingParameters(max_tokens=10, temperature=2.5, seed=1, with_logprobs=True)
    ((answer,),) = engine.generate([BASE], [prompts[0]], sampled)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    expected = _teacher_forced(network, prompts[0], answer.token_ids)
    assert answer.token_logprobs == pytest.approx(expected, abs=1e-4)


def test_rows_that_finish_early_do_not_disturb_the_others(model, codec, prompts):
    engine = _start(model, codec)
    candidates = [0, 1, 2, BASE, 1]
    whole = engine.generate(candidates, prompts, SamplingParameters(24, with_logprobs=True))
    # Characters out of the answers themselves end the rows at different steps.
    stops = tuple(whole[i][0].text[step] for i, step in ((0, 2), (1, 6), (3, 10)))
    ended = engine.generate(
        candidates, prompts, SamplingParameters(24, stop=stops, with_logprobs=True)
    )
    lengths = {len(samples[0].token_ids) for samples in ended}
    assert len(lengths) > 2
    for (long,), (short,) in zip(whole, ended, strict=True):
        first = [long.text.index(stop) for stop in stops if stop in long.text]
        assert short.text == long.text[: min(first, default=24)]
        kept = len(short.token_ids)
        assert short.token_ids == long.token_ids[:kept]
        assert short.token_logprobs == pytest.approx(present(long.token_logprobs)[:kept], abs=1e-4)
        assert short.finish_reason == ("stop" if first else "length")


def test_answers_end_at_the_models_context(model):
    engine = _start(model, None)
    answers = engine.generate([BASE, BASE], [[5] * 90, [6] * 10], SamplingParameters(20))
    assert [len(samples[0].token_ids) for samples in answers] == [6, 20]
    assert answers[0][0].finish_reason == "length"
    with pytest.raises(EngineError, match="96 tokens"):
        engine.generate([BASE], [[5] * 96], SamplingParameters(20))


def test_threads_get_the_answers_they_would_get_alone(model, codec, prompts):
    engine = _start(model, codec)
    parameters = SamplingParameters(max_tokens=8)

    def answer(candidate: int):
        return engine.generate([candidate] * len(prompts), prompts, parameters)

    order = [0, 1, 2, BASE] * 2
    alone = [answer(candidate) for candidate in order]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(answer, order)) == alone


def test_token_counter_is_exact(model, codec, prompts):
    engine = _start(model, codec)
    sampled = SamplingParameters(max_tokens=7, temperature=1.0, samples=2)
    answers = engine.generate([0, 1], prompts[:2], sampled)
    produced = sum(len(sample.token_ids) for samples in answers for sample in samples)
    assert engine.health().generated_tokens == produced == 28


def test_closing_takes_the_hooks_off_the_model(model, codec, prompts):
    engine = _start(model, codec)
    source = present(engine._source)
    before = engine.generate([BASE], prompts[:1], SamplingParameters(8))
    engine.close()
    hooked = [name for name, module in source.model.named_modules() if module._forward_hooks]
    assert hooked == []
    again = decode_batch(source, None, [Rollout(BASE, tuple(prompts[0]))], SamplingParameters(8))
    assert [again] == before


def test_a_second_basis_replaces_the_first(model, codec, tiny_adapter, prompts):
    other = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(seed=5, rank=2), "product", 1.0))
    engine = _start(model, codec)
    engine.generate([1], prompts[:1], SamplingParameters(8))
    engine.load_basis(other.engine_basis())
    with pytest.raises(EngineError, match="0 rows"):
        engine.generate([0], prompts[:1], SamplingParameters(8))
    engine.set_population(other.scales(_vectors(other, 3)))
    alone = _start(model, other)
    parameters = SamplingParameters(8, with_logprobs=True)
    assert engine.generate([0, 2], prompts[:2], parameters) == alone.generate(
        [0, 2], prompts[:2], parameters
    )


def test_layers_that_are_not_linear_are_refused(model, codec):
    rng = np.random.default_rng(0)
    embedding = LoraModule(
        "model.embed_tokens",
        rng.normal(size=(2, 100)).astype(np.float32),
        rng.normal(size=(128, 2)).astype(np.float32),
        1.0,
    )
    adapter = LoraAdapter((embedding,), dict(codec.basis.config))
    basis = SingularValueCodec(AdapterBasis.decompose(adapter, "factors", 1.0)).engine_basis()
    with pytest.raises(EngineError, match=r"Embedding.*target_modules"):
        _start(model, None).load_basis(basis)


@pytest.mark.parametrize(
    ("prompt", "message"), [([], "0 tokens"), ([5, 4000], "4000"), ([-1], "-1")]
)
def test_unusable_prompts_are_refused(model, prompt, message):
    with pytest.raises(EngineError, match=message):
        _start(model, None).generate([BASE], [prompt], SamplingParameters(8))


def test_unusable_requests_are_refused(model, codec):
    engine = _start(model, codec)
    with pytest.raises(EngineError, match="2 candidates for 1 prompts"):
        engine.generate([0, 1], [[5]], SamplingParameters(8))
    with pytest.raises(EngineError, match=r"rollout\.max_tokens"):
        engine.generate([0], [[5]], SamplingParameters(0))
    scales = codec.scales(_vectors(codec, 2))
    scales[1, 3] = np.nan
    with pytest.raises(EngineError, match="NaN"):
        engine.set_population(scales)


def test_nothing_to_do_is_no_answers(model):
    assert _start(model, None).generate([], [], SamplingParameters(8)) == []


def test_models_that_cannot_be_loaded_are_named(model, tmp_path):
    with pytest.raises(EngineStartError, match="nothing_here"):
        TransformersEngine(tmp_path / "nothing_here", precision="fp32", device="cpu")
    quantised = tmp_path / "quantised"
    shutil.copytree(model, quantised)
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors"}
    (quantised / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineStartError, match="quantised already"):
        TransformersEngine(quantised, precision="int8", device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(model):
    with pytest.raises(EngineStartError, match="cuda"):
        TransformersEngine(model, precision="fp32", device="cuda")
