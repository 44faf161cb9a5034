"""What every engine must do, against plain transformers and peft as the reference.

Add an engine to ENGINES to run it through all of this.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("vllm")

import ray  # noqa: E402
from peft import PeftModel  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from essa.errors import EngineError  # noqa: E402
from essa.parametrize.adapter import LoraAdapter, write_adapter  # noqa: E402
from essa.parametrize.basis import AdapterBasis  # noqa: E402
from essa.parametrize.codec import SingularValueCodec  # noqa: E402
from essa.parametrize.engine_basis import EngineBasis, ModuleBasis  # noqa: E402
from essa.spec import Precision, VllmEngineSpec  # noqa: E402
from tests.contract.remote_engine import RemoteEngine  # noqa: E402
from workers.cluster.ray_cluster import connect  # noqa: E402
from workers.engines.base import BASE, Engine, SamplingParameters  # noqa: E402
from workers.engines.build import EngineBuild  # noqa: E402
from workers.engines.transformers_engine import TransformersEngine  # noqa: E402

pytestmark = pytest.mark.engine

MAX_POPULATION = 8
ANSWER = SamplingParameters(max_tokens=16, with_logprobs=True)
PROMPTS = ("to be or not", "a", "The quick brown fox jumps over it", "12+34=")


@dataclass(frozen=True)
class EngineCase:
    """How to start one engine, and how far its log-probabilities may be from the reference."""

    start: Callable[[Path, EngineBasis], Engine]
    tolerance: float


def _start_transformers(model: Path, basis: EngineBasis) -> Engine:
    # max_batch below the number of rows of most tests, so that they span several batches.
    return TransformersEngine(
        model, precision="fp32", max_batch=5, max_population=MAX_POPULATION, device="cpu"
    )


def _start_vllm(model: Path, basis: EngineBasis) -> Engine:
    if not ray.is_initialized():
        connect(None, address="local", include_dashboard=False, num_cpus=2)
    # Fewer sequences than rows of most tests, so that they are not all in one step.
    spec = VllmEngineSpec(precision=Precision.FP32, max_num_seqs=6, kv_cache_gib=0.2)
    modules = sorted({module.name.rsplit(".", 1)[-1] for module in basis.modules})
    return RemoteEngine(
        EngineBuild(
            spec=spec,
            model_path=str(model),
            max_population=MAX_POPULATION,
            rank=basis.rank,
            target_modules=tuple(modules),
            has_core=basis.modules[0].core is not None,
            seed=0,
        )
    )


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    yield
    ray.shutdown()


ENGINES = {
    "transformers-fp32": EngineCase(_start_transformers, tolerance=2e-4),
    "vllm-fp32": EngineCase(_start_vllm, tolerance=2e-3),
}
SETTINGS = [
    ("transformers-fp32", "qwen2", "factors"),
    ("transformers-fp32", "qwen2", "product"),
    ("transformers-fp32", "llama", "factors"),
    ("transformers-fp32", "llama", "product"),
    # A vLLM start takes a quarter of a minute: each architecture and each target once.
    ("vllm-fp32", "qwen2", "factors"),
    ("vllm-fp32", "llama", "product"),
]


@dataclass
class Bench:
    """An engine with its basis loaded, and the reference for it."""

    engine: Engine
    codec: SingularValueCodec
    model: Path
    tolerance: float
    prompts: list[list[int]]

    def vectors(self, count: int, seed: int = 0) -> np.ndarray:
        """Random candidates, large enough to answer differently from each other."""
        return np.random.default_rng(seed).normal(size=(count, self.codec.dimension))

    def scales(self, vectors_N_D: np.ndarray) -> np.ndarray:
        return self.codec.scales(vectors_N_D)

    def answers(self, candidates: list[int], parameters: SamplingParameters = ANSWER):
        """One completion per (candidate, prompt), candidates outermost."""
        pairs = [(c, prompt) for c in candidates for prompt in self.prompts]
        results = self.engine.generate([c for c, _ in pairs], [p for _, p in pairs], parameters)
        assert all(len(samples) == parameters.samples for samples in results)
        return [samples[0] for samples in results]


@pytest.fixture(scope="module", params=SETTINGS, ids="-".join)
def bench(request, tiny_model, tiny_adapter) -> Iterator[Bench]:
    name, architecture, target = request.param
    model = tiny_model(architecture)
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), target, alpha=1.0))
    tokenizer = AutoTokenizer.from_pretrained(model)
    basis = codec.engine_basis()
    engine = ENGINES[name].start(model, basis)
    engine.load_basis(basis)
    prompts = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    yield Bench(engine, codec, model, ENGINES[name].tolerance, prompts)
    engine.close()


def _reference(
    model: Path, adapter: LoraAdapter | None, prompts: list[list[int]], folder: Path
) -> list[tuple[list[int], list[float]]]:
    """Greedy tokens and log-probabilities, one prompt at a time, without padding or cache."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if adapter is not None:
        write_adapter(adapter, folder)
        network = PeftModel.from_pretrained(network, folder)
    network.eval()
    results = []
    for prompt in prompts:
        tokens = list(prompt)
        logprobs = []
        for _ in range(ANSWER.max_tokens):
            with torch.no_grad():
                logits = network(torch.tensor([tokens])).logits[0, -1]
            tokens.append(int(logits.argmax()))
            logprobs.append(float(logits.log_softmax(-1)[tokens[-1]]))
        results.append((tokens[len(prompt) :], logprobs))
    return results


def _assert_agree(completions, expected, tolerance) -> None:
    assert [list(c.token_ids) for c in completions] == [tokens for tokens, _ in expected]
    measured = np.array([c.token_logprobs for c in completions])
    assert measured == pytest.approx(np.array([p for _, p in expected]), abs=tolerance)


def test_random_candidates_agree_with_peft_on_the_exported_adapter(bench, tmp_path):
    vectors = bench.vectors(3)
    bench.engine.set_population(bench.scales(vectors))
    completions = bench.answers([0, 1, 2])
    for n, vector in enumerate(vectors):
        expected = _reference(bench.model, bench.codec.export(vector), bench.prompts, tmp_path)
        own = completions[n * len(bench.prompts) : (n + 1) * len(bench.prompts)]
        _assert_agree(own, expected, bench.tolerance)


def test_base_candidate_is_the_base_model_beside_others(bench, tmp_path):
    bench.engine.set_population(bench.scales(bench.vectors(2)))
    completions = bench.answers([0, BASE, 1])[len(bench.prompts) : 2 * len(bench.prompts)]
    expected = _reference(bench.model, None, bench.prompts, tmp_path)
    _assert_agree(completions, expected, bench.tolerance)


def test_zero_vector_is_the_warm_start(bench, tiny_adapter, tmp_path):
    vectors = np.vstack([bench.vectors(1), np.zeros(bench.codec.dimension)])
    bench.engine.set_population(bench.scales(vectors))
    expected = _reference(bench.model, tiny_adapter(), bench.prompts, tmp_path)
    _assert_agree(bench.answers([0, 1])[len(bench.prompts) :], expected, bench.tolerance)


def test_candidates_and_base_really_differ(bench):
    bench.engine.set_population(bench.scales(bench.vectors(4)))
    completions = bench.answers([0, 1, 2, 3, BASE])
    groups = [
        tuple(c.token_ids for c in completions[start : start + len(bench.prompts)])
        for start in range(0, len(completions), len(bench.prompts))
    ]
    assert len(set(groups)) == 5


def test_answers_do_not_depend_on_earlier_populations(bench):
    first, second = bench.vectors(3, seed=1), bench.vectors(3, seed=2)
    bench.engine.set_population(bench.scales(second))
    fresh = bench.answers([0, 1, 2])
    bench.engine.set_population(bench.scales(first))
    other = bench.answers([0, 1, 2])
    bench.engine.set_population(bench.scales(second))
    again = bench.answers([0, 1, 2])
    assert all(a.token_logprobs != b.token_logprobs for a, b in zip(fresh, other, strict=True))
    _assert_agree(again, [(list(c.token_ids), c.token_logprobs) for c in fresh], bench.tolerance)


def test_a_smaller_population_forgets_the_larger(bench):
    bench.engine.set_population(bench.scales(bench.vectors(4)))
    bench.engine.set_population(bench.scales(bench.vectors(2)))
    with pytest.raises(EngineError, match=r"3.*2"):
        bench.engine.generate([3], [bench.prompts[0]], ANSWER)


def test_results_come_in_the_order_given(bench):
    bench.engine.set_population(bench.scales(bench.vectors(3)))
    grid = [(c, p) for c in (0, 1, 2, BASE) for p in bench.prompts]
    alone = [bench.engine.generate([c], [p], ANSWER)[0][0] for c, p in grid]
    order = np.random.default_rng(3).permutation(len(grid))
    shuffled = bench.engine.generate(
        [grid[i][0] for i in order], [grid[i][1] for i in order], ANSWER
    )
    expected = [(list(alone[i].token_ids), alone[i].token_logprobs) for i in order]
    _assert_agree([samples[0] for samples in shuffled], expected, bench.tolerance)


def test_answers_end_at_max_tokens_with_reason_length(bench):
    bench.engine.set_population(bench.scales(bench.vectors(1)))
    (completion,) = bench.engine.generate([0], [bench.prompts[0]], SamplingParameters(5))[0]
    assert len(completion.token_ids) == 5
    assert completion.finish_reason == "length"
    assert len(completion.text) == 5
    assert completion.token_logprobs is None


def test_answers_end_before_a_stop_string(bench):
    bench.engine.set_population(bench.scales(bench.vectors(1)))
    text = bench.answers([0])[0].text
    stop = text[3:5]
    stopped = bench.answers([0], SamplingParameters(max_tokens=16, stop=("never this", stop)))[0]
    assert stopped.text == text[: text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_samples_are_reproducible_and_differ_from_each_other(bench):
    bench.engine.set_population(bench.scales(bench.vectors(2)))
    sampled = SamplingParameters(max_tokens=16, temperature=1.0, samples=3, seed=5)
    once = bench.engine.generate([0, 1], bench.prompts[:2], sampled)
    again = bench.engine.generate([0, 1], bench.prompts[:2], sampled)
    assert [[c.text for c in row] for row in once] == [[c.text for c in row] for row in again]
    assert all(len({c.text for c in row}) == 3 for row in once)
    other_seed = SamplingParameters(max_tokens=16, temperature=1.0, samples=3, seed=6)
    assert once != bench.engine.generate([0, 1], bench.prompts[:2], other_seed)


def test_greedy_samples_are_all_the_greedy_answer(bench):
    bench.engine.set_population(bench.scales(bench.vectors(1)))
    (row,) = bench.engine.generate([0], bench.prompts[:1], SamplingParameters(8, samples=3))
    assert len(row) == 3
    assert len({completion.text for completion in row}) == 1


def test_given_answers_are_scored_as_they_were_generated(bench):
    bench.engine.set_population(bench.scales(bench.vectors(2)))
    rows = [(c, prompt) for c in (0, BASE, 1) for prompt in bench.prompts]
    candidates, prompts = [c for c, _ in rows], [prompt for _, prompt in rows]
    written = [samples[0] for samples in bench.engine.generate(candidates, prompts, ANSWER)]
    answers = [completion.token_ids for completion in written]
    scored = [samples[0] for samples in bench.engine.score(candidates, prompts, answers)]
    assert [completion.text for completion in scored] == [""] * len(rows)
    expected = [(list(c.token_ids), c.token_logprobs) for c in written]
    _assert_agree(scored, expected, bench.tolerance)


def test_answers_of_any_length_can_be_scored_under_another_candidate(bench, tmp_path):
    bench.engine.set_population(bench.scales(bench.vectors(1)))
    answers = [(5, 6, 7, 8, 9), (7,), (9, 9, 9), (11, 5)]
    scored = bench.engine.score([BASE] * 4, bench.prompts, answers)
    network = AutoModelForCausalLM.from_pretrained(bench.model, dtype=torch.float32)
    for prompt, answer, (completion,) in zip(bench.prompts, answers, scored, strict=True):
        with torch.no_grad():
            logits = network(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        assert completion.token_logprobs == pytest.approx(chosen.tolist(), abs=bench.tolerance)


@pytest.mark.parametrize("head", [10, 33])
def test_answers_that_begin_alike_are_scored_as_if_alone(bench, head):
    # Blocks of the prefix cache have 32 tokens: one ends within the answer, or within the prompt.
    prompt, answer = [5 + i % 7 for i in range(head)], [6 + i % 5 for i in range(60)]
    answers = [answer, answer, [*answer[:-1], 5], answer[:40], answer]
    together = bench.engine.score([BASE] * 5, [prompt] * 5, answers)
    for given, (completion,) in zip(answers, together, strict=True):
        alone = bench.engine.score([BASE], [prompt], [given])[0][0]
        assert len(completion.token_logprobs) == len(given)
        assert completion.token_logprobs == pytest.approx(alone.token_logprobs, abs=1e-3)


def test_answers_that_cannot_be_scored_are_refused(bench):
    with pytest.raises(EngineError, match="without tokens"):
        bench.engine.score([BASE], bench.prompts[:1], [()])
    with pytest.raises(EngineError, match="5000"):
        bench.engine.score([BASE], [[5] * 10], [[5] * 4990])
    with pytest.raises(EngineError, match="2 answers for 1 prompts"):
        bench.engine.score([BASE], bench.prompts[:1], [(5,), (6,)])


def test_health_names_basis_and_population(bench):
    before = bench.engine.health().generated_tokens
    bench.engine.set_population(bench.scales(bench.vectors(3)))
    bench.engine.generate([0], bench.prompts[:1], SamplingParameters(4))
    health = bench.engine.health()
    assert health.basis_digest == bench.codec.basis.digest
    assert health.population == 3
    assert health.generated_tokens == before + 4


@pytest.mark.parametrize("candidate", [2, -2])
def test_unknown_candidates_are_refused(bench, candidate):
    bench.engine.set_population(bench.scales(bench.vectors(2)))
    with pytest.raises(EngineError, match=str(candidate)):
        bench.engine.generate([0, candidate], bench.prompts[:2], ANSWER)


def test_too_long_prompts_are_refused(bench):
    bench.engine.set_population(bench.scales(bench.vectors(1)))
    with pytest.raises(EngineError, match="5000"):
        bench.engine.generate([0], [[5] * 5000], ANSWER)


def test_a_population_of_wrong_width_or_size_is_refused(bench):
    scales = bench.scales(bench.vectors(MAX_POPULATION + 1))
    with pytest.raises(EngineError, match=str(scales.shape[1])):
        bench.engine.set_population(scales[:2, :-1])
    with pytest.raises(EngineError, match=str(MAX_POPULATION)):
        bench.engine.set_population(scales)


def test_a_basis_for_another_model_is_refused_and_the_old_one_kept(bench):
    bench.engine.set_population(bench.scales(bench.vectors(1)))
    before = bench.answers([0])
    basis = bench.codec.engine_basis()
    broken = basis.modules[0]
    renamed = ModuleBasis("model.layers.9.self_attn.q_proj", *_arrays(broken))
    shrink, core, expand = _arrays(broken)
    narrow = ModuleBasis(broken.name, shrink[:, :-1], core, expand)
    for module, message in ((renamed, "layers.9"), (narrow, "q_proj")):
        with pytest.raises(EngineError, match=message):
            bench.engine.load_basis(EngineBasis((module, *basis.modules[1:]), "other"))
    assert [c.token_ids for c in bench.answers([0])] == [c.token_ids for c in before]


def _arrays(module: ModuleBasis):
    return module.shrink, module.core, module.expand


@pytest.fixture(params=sorted(ENGINES))
def fresh(request, tiny_model, tiny_adapter):
    """Start an engine that has no basis yet, on a model of the test's choosing."""
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), "factors", alpha=1.0))
    started: list[Engine] = []

    def start(model: Path | None = None) -> tuple[Engine, SingularValueCodec]:
        basis = codec.engine_basis()
        started.append(ENGINES[request.param].start(model or tiny_model("llama"), basis))
        return started[-1], codec

    yield start
    for engine in started:
        engine.close()


def test_without_a_basis_only_the_base_answers(fresh):
    engine, codec = fresh()
    with pytest.raises(EngineError, match="basis"):
        engine.set_population(codec.scales(np.zeros((1, codec.dimension))))
    with pytest.raises(EngineError):
        engine.generate([0], [[5, 6]], ANSWER)
    (completion,) = engine.generate([BASE], [[5, 6]], ANSWER)[0]
    assert len(completion.token_ids) == ANSWER.max_tokens
    engine.load_basis(codec.engine_basis())
    assert engine.health().population == 0


def test_a_closed_engine_says_so_and_closes_twice(fresh):
    engine, _ = fresh()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.generate([BASE], [[5, 6]], ANSWER)


def test_any_end_token_of_the_generation_config_ends_the_answer(fresh, tiny_model, tmp_path):
    engine, _ = fresh()
    (whole,) = engine.generate([BASE], [[5, 6, 7]], ANSWER)[0]
    end = whole.token_ids[4]
    first = whole.token_ids.index(end)
    engine.close()

    model = tmp_path / "model"
    shutil.copytree(tiny_model("llama"), model)
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, end]}))
    engine, _ = fresh(model)
    (ended,) = engine.generate([BASE], [[5, 6, 7]], ANSWER)[0]
    assert ended.finish_reason == "stop"
    assert ended.token_ids == whole.token_ids[: first + 1]
    assert len(ended.token_logprobs) == len(ended.token_ids)
    assert ended.text == whole.text[:first]
