"""BLEU of all answers of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from reward.batch import SummedReward
from reward.column import as_text, read_column, unusable
from reward.extra import require_library
from reward.sample import Sample
from reward.spec import CorpusBleuReward

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU


class CorpusBleu(SummedReward[CorpusBleuReward]):
    """sacrebleu's corpus score over 100: n-gram matches and lengths are summed over the batch.

    This is not the mean of the answers' own BLEU: a long answer counts more, and brevity is
    punished for the batch as a whole.

    Source:
        Papineni et al. (2002), BLEU; Post (2018), arXiv:1804.08771, for sacrebleu.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._counter()
        self._references(columns)

    def _statistic(self, sample: Sample) -> tuple[int, ...]:
        counter, references = self._counter(), self._references(sample.columns)
        score = counter.sentence_score(sample.completion, references)
        return (score.sys_len, score.ref_len, *score.counts, *score.totals)

    def _metric_of_total(self, total: Sequence[int]) -> float:
        order = self.spec.max_order
        score = self._counter().compute_bleu(
            correct=list(total[2 : 2 + order]),
            total=list(total[2 + order :]),
            sys_len=total[0],
            ref_len=total[1],
            smooth_method=self.spec.smooth,
            max_ngram_order=order,
        )
        return score.score / 100

    def _counter(self) -> BLEU:
        spec = self.spec
        require_library("sacrebleu", "sacrebleu", self.path, spec.type)
        return _counter(spec.tokenize, spec.lowercase, spec.max_order)

    def _references(self, row: Mapping[str, Any]) -> list[str]:
        column, setting = self.spec.reference, f"{self.path}.reference"
        value = read_column(row, column, setting)
        texts = [as_text(part) for part in (value if isinstance(value, list | tuple) else [value])]
        usable = [text for text in texts if text is not None and text.strip()]
        if not usable or len(usable) < len(texts):
            raise unusable(row, column, setting, "not a text or a list of texts")
        return usable


@cache
def _counter(tokenize: str, lowercase: bool, max_order: int) -> BLEU:
    from sacrebleu.metrics import BLEU

    # Only counts are taken from it, which some ways of smoothing would change; the effective order
    # changes none, and without it sacrebleu warns at every sentence.
    return BLEU(
        tokenize=tokenize,
        lowercase=lowercase,
        max_ngram_order=max_order,
        smooth_method="none",
        effective_order=True,
    )
