"""Compare every engine of a job with the reference before the search starts.

Four candidates fill all rows of the population: the warm start, two random ones far enough from it
that their effect exceeds rounding errors, and one of zeros. They answer a few prompts in one batch,
together with the base; the reference then scores the same answer tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from essa.errors import EngineGateError
from essa.events import GateEvent
from essa.parametrize.adapter import LoraAdapter
from essa.parametrize.port import Codec, Load
from essa.ports import Say
from essa.spec.engine import Precision
from essa.types import Completion, FloatArray
from workers.cluster.pool import EnginePool
from workers.engines.base import BASE, SamplingParameters
from workers.gate.reference import Answer, ReferenceModel
from workers.gate.verdict import Measurement, objections, rms, worst

PROMPTS = 4
PROMPT_TOKENS = 128
"""Tokens kept of a longer prompt, from its end: enough to compare, and within every context."""
ANSWER_TOKENS = 24
RANDOM_CANDIDATES = 2
EFFECT_NATS = (1.0, 1.3)
"""Root mean square change of log-probability that a random candidate makes on the base's answers.

A smaller change drowns in rounding errors. A much larger one leaves the region where the model is a
smooth function of its weights: at 4 nats, correct INT8 engines were off by 70 % of the effect, at 1
nat by at most 36 %."""
MAX_SIGMA = 256.0
BISECTIONS = 6
ANSWER = SamplingParameters(max_tokens=ANSWER_TOKENS, ignore_end=True, with_logprobs=True)

WARM_START, ZEROED = 0, RANDOM_CANDIDATES + 1
"""Positions among the gate's candidates; the random ones lie between."""


def check_engines(
    pool: EnginePool,
    codec: Codec,
    reference: ReferenceModel,
    prompts: Sequence[tuple[int, ...]],
    *,
    precision: Precision,
    max_len: int | None = None,
    seed: int,
    say: Say,
) -> GateEvent:
    """Measure every engine of the pool; leaves the gate's candidates as its population.

    Args:
        prompts: token ids; the first few are used.
        max_len: longest prompt and answer that the engines accept; None if the job sets no limit.
        seed: seed of the random candidates.
        say: called with every step of the check.
    Returns:
        The worst measurement over all engines.
    Raises:
        EngineGateError: an engine runs the base or an adapter wrongly.
        EngineError: an engine failed.
    """
    started_s = time.monotonic()
    longest = PROMPT_TOKENS
    if max_len is not None:
        longest = max(1, min(longest, max_len - ANSWER_TOKENS))
    chosen = [tuple(prompt[-longest:]) for prompt in prompts[:PROMPTS]]
    steps = RANDOM_CANDIDATES + pool.size + 2
    text = "checking the engines against plain transformers"
    say(f"{text}: the base", 0, steps)
    base_answers = _base_answers(pool, chosen)
    scorer = _Scorer(reference, codec)
    vectors = [np.zeros(codec.dimension)]
    for number in range(RANDOM_CANDIDATES):

        def tell(sigma: float, number: int = number) -> None:
            say(f"{text}: random candidate {number + 1} at a step of {sigma:g}", 1 + number, steps)

        vectors.append(_strong_vector(scorer, base_answers, codec.dimension, seed + number, tell))
    say(f"{text}: what they answer", 1 + RANDOM_CANDIDATES, steps)
    sheets = _candidate_answers(pool, codec, np.vstack(vectors), chosen)
    scorer.set_vectors(np.vstack(vectors))
    measured = []
    for engine, sheet in enumerate(sheets):
        say(f"{text}: engine {engine + 1}", 2 + RANDOM_CANDIDATES + engine, steps)
        measured.append(_measure(scorer, sheet))
    for engine, one in enumerate(measured):
        found = objections(one, precision)
        if found:
            raise EngineGateError(_refusal(engine, found), measurement=one.as_json())
    result = worst(measured)
    return GateEvent(
        **result.as_json(), precision=str(precision), seconds=time.monotonic() - started_s
    )


def _refusal(engine: int, found: Sequence[str]) -> str:
    return (
        f"engine {engine} does not run this model as plain transformers does: "
        f"{'; '.join(found)}. Scores from it would be false. Another engine.precision may be "
        "sound; engine.gate: false starts anyway"
    )


@dataclass
class _Sheet:
    """Answers of one engine: rows of (kind, answer, log-probabilities).

    A kind is BASE or a position among the gate's candidates.
    """

    rows: list[tuple[int, Answer, NDArray[np.float64]]] = field(default_factory=list)

    def add(self, kind: int, prompt: tuple[int, ...], completion: Completion) -> None:
        answer = Answer(prompt, completion.token_ids)
        self.rows.append((kind, answer, np.array(completion.token_logprobs, dtype=np.float64)))

    def of(self, kind: int) -> list[tuple[Answer, NDArray[np.float64]]]:
        return [(answer, values) for found, answer, values in self.rows if found == kind]


class _Scorer:
    """Log-probabilities of the reference by kind, computed once per distinct answer."""

    def __init__(self, reference: ReferenceModel, codec: Codec) -> None:
        self._reference = reference
        self._codec = codec
        self._adapters: dict[int, LoraAdapter] = {}
        self._known: dict[tuple[int, Answer], NDArray[np.float64]] = {}

    def set_vectors(self, vectors_N_D: FloatArray) -> None:
        for kind, vector in enumerate(vectors_N_D):
            self._adapters[kind] = self._codec.export(vector)

    def of_vector(self, vector: FloatArray, answers: Sequence[Answer]) -> NDArray[np.float64]:
        return np.concatenate(self._reference.logprobs(self._codec.export(vector), answers))

    def of(self, kind: int, answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Return the log-probabilities of all answer tokens; a zeroed candidate is the base."""
        adapter = self._adapters.get(kind)
        key = BASE if adapter is None else kind
        missing = list(dict.fromkeys(one for one in answers if (key, one) not in self._known))
        for answer, values in zip(missing, self._reference.logprobs(adapter, missing), strict=True):
            self._known[key, answer] = values
        return np.concatenate([self._known[key, one] for one in answers])


def _base_answers(pool: EnginePool, prompts: Sequence[tuple[int, ...]]) -> list[Answer]:
    (first, *_) = pool.generate_everywhere([BASE] * len(prompts), prompts, ANSWER)
    return [
        Answer(prompt, samples[0].token_ids) for prompt, samples in zip(prompts, first, strict=True)
    ]


def _strong_vector(
    scorer: _Scorer,
    answers: Sequence[Answer],
    dimension: int,
    seed: int,
    tell: Callable[[float], None],
) -> FloatArray:
    """Return a random vector (dimension,), long enough to change the base's answers clearly.

    Args:
        tell: called with every step size that is tried.
    """
    direction = np.random.default_rng([seed, dimension]).normal(size=dimension)
    base = scorer.of(BASE, answers)
    low, high = EFFECT_NATS

    def effect(sigma: float) -> float:
        tell(sigma)
        return rms(scorer.of_vector(sigma * direction, answers) - base)

    # Never below one: little but a strong warm start would be left of the candidate.
    weak, strong = 1.0, 1.0
    while (found := effect(strong)) < low:
        if strong >= MAX_SIGMA:
            raise _too_weak()
        weak, strong = strong, 2 * strong
    for _ in range(BISECTIONS):
        if found <= high or weak == strong:
            break
        middle = (weak + strong) / 2
        between = effect(middle)
        if between < low:
            weak = middle
        else:
            strong, found = middle, between
    return strong * direction


def _too_weak() -> EngineGateError:
    return EngineGateError(
        f"random candidates change nothing even at a step of {MAX_SIGMA:g} mean singular values: "
        "the warm start is too weak to be searched; train it longer or with a higher "
        "warm_start.sft.learning_rate"
    )


def _candidate_answers(
    pool: EnginePool,
    codec: Codec,
    vectors_N_D: FloatArray,
    prompts: Sequence[tuple[int, ...]],
) -> list[_Sheet]:
    """Return answers of all kinds from every engine, each kind from its first and last row."""
    sheets = [_Sheet() for _ in range(pool.size)]
    for kinds, load in _full_loads(codec, vectors_N_D, pool.max_population):
        pool.load(load)
        rows = [BASE]
        for kind in dict.fromkeys(kinds.tolist()):
            places = np.flatnonzero(kinds == kind)
            rows += sorted({int(places[0]), int(places[-1])})
        asked = [(row, prompt) for row in rows for prompt in prompts]
        for sheet, results in zip(
            sheets,
            pool.generate_everywhere([row for row, _ in asked], [p for _, p in asked], ANSWER),
            strict=True,
        ):
            for (row, prompt), samples in zip(asked, results, strict=True):
                sheet.add(BASE if row == BASE else int(kinds[row]), prompt, samples[0])
    return sheets


def _full_loads(
    codec: Codec, vectors_N_D: FloatArray, rows: int
) -> Iterator[tuple[NDArray[np.int64], Load]]:
    """The codec's loads with a candidate of zeros at their end, repeated until they fill all rows.

    Returns:
        The kind of every row, and the load.
    """
    first = 0
    for load in codec.loads(vectors_N_D):
        kinds = np.array([*range(first, first + load.candidates), ZEROED])
        scales = np.vstack([load.scales_N_S, np.zeros_like(load.scales_N_S[:1])])
        first += load.candidates
        for start in range(0, len(kinds), rows):
            held = np.resize(np.arange(start, min(start + rows, len(kinds))), rows)
            yield kinds[held], Load(load.basis, scales[held])


def _measure(scorer: _Scorer, sheet: _Sheet) -> Measurement:
    shares, effects = [], []
    for kind in range(WARM_START + 1, ZEROED):
        answers, values = _joined(sheet, kind)
        expected = scorer.of(kind, answers)
        effects.append(rms(expected - scorer.of(BASE, answers)))
        shares.append(rms(values - expected) / max(effects[-1], 1e-12))
    return Measurement(
        base_nats=_error(scorer, sheet, BASE),
        warm_start_nats=_error(scorer, sheet, WARM_START),
        zeroed_nats=_zeroed_error(sheet),
        candidates=tuple(shares),
        effect_nats=min(effects),
    )


def _joined(sheet: _Sheet, kind: int) -> tuple[list[Answer], NDArray[np.float64]]:
    rows = sheet.of(kind)
    return [answer for answer, _ in rows], np.concatenate([values for _, values in rows])


def _error(scorer: _Scorer, sheet: _Sheet, kind: int) -> float:
    answers, values = _joined(sheet, kind)
    return rms(values - scorer.of(kind, answers))


def _zeroed_error(sheet: _Sheet) -> float:
    """Return how far the zeroed candidate differs from the base, while their tokens agree."""
    base = {answer.prompt: (answer.tokens, values) for answer, values in sheet.of(BASE)}
    differences = []
    for answer, values in sheet.of(ZEROED):
        tokens, expected = base[answer.prompt]
        same = 0
        while same < min(len(tokens), len(answer.tokens)) and tokens[same] == answer.tokens[same]:
            same += 1
        differences.append(values[:same] - expected[:same])
    compared = np.concatenate(differences)
    return rms(compared) if len(compared) else float("inf")
