"""Metrics of a whole batch: rewards that have no value for a single answer.

A search without gradients needs one number per candidate, so this number may be a metric of all
its answers together. Every answer then carries its share of the metric, and the mean over the
answers is the metric itself (`reward/batch.py`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from reward.spec.model import RewardSpecModel
from reward.spec.nesting import depth_of

if TYPE_CHECKING:
    from reward.spec import RewardSpec


class BatchMetricSpec(RewardSpecModel):
    """A metric of the whole batch: single values are its shares, and their mean is the metric."""


class LabelMetricSpec(BatchMetricSpec):
    """A metric of labels that are read from the completion and from a column of the row."""

    labels: tuple[str, ...] = Field(min_length=2, max_length=100)
    """All classes, as the completion names them."""
    reference: str = Field(default="answer", min_length=1)
    """Column of the row that holds the correct label: one of `labels`, text or a number."""
    take: Literal["first", "last"] = "last"
    """Label that counts if the completion names several, as whole words. A completion that names
    none is wrong, not missing."""
    ignore_case: bool = True

    @model_validator(mode="after")
    def _labels_differ(self) -> LabelMetricSpec:
        if not all(label.strip() for label in self.labels):
            raise ValueError(f"a label is blank: {list(self.labels)}; remove it")
        counts = Counter(self.normal(label) for label in self.labels)
        doubles = sorted(label for label, count in counts.items() if count > 1)
        if doubles:
            raise ValueError(f"labels must differ; given twice: {', '.join(doubles)}")
        return self

    def normal(self, text: str) -> str:
        """Return a text in the form in which labels are compared."""
        text = " ".join(text.split())
        return text.casefold() if self.ignore_case else text


class F1Spec(LabelMetricSpec):
    """F1 of the labels read from the completions, over the batch."""

    type: Literal["f1"] = "f1"
    average: Literal["binary", "macro", "micro"] = "macro"
    """Averaging. `binary`: F1 of the label `positive`; `macro`: mean over the labels that are
    correct for some row of the batch; `micro`: F1 of all labels pooled."""
    positive: str | None = None
    """Label whose F1 `binary` computes."""

    @model_validator(mode="after")
    def _positive_fits(self) -> F1Spec:
        if self.average != "binary":
            if self.positive is not None:
                raise ValueError(
                    f"`positive` is not read with `average: {self.average}`; set it to binary"
                )
        elif self.positive is None:
            raise ValueError("`average: binary` needs `positive`, one of the labels")
        elif self.normal(self.positive) not in map(self.normal, self.labels):
            raise ValueError(
                f"positive is {self.positive!r}, none of the labels {', '.join(self.labels)}"
            )
        return self


class BalancedAccuracySpec(LabelMetricSpec):
    """Mean recall over the classes: the share of each class's rows that are labelled correctly.

    Unlike accuracy, it does not reward always naming the most frequent label. Only classes that are
    correct for some row of the batch count.
    """

    type: Literal["balanced_accuracy"] = "balanced_accuracy"


class CorpusBleuSpec(BatchMetricSpec):
    """BLEU of all completions of the batch together, in [0, 1]: sacrebleu's score over 100."""

    type: Literal["corpus_bleu"] = "corpus_bleu"
    reference: str = Field(default="answer", min_length=1)
    """Column of the row that holds the reference translation, or a list of them."""
    tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    """Tokenizer, as sacrebleu calls it: `zh` for Chinese, `char` for characters."""
    lowercase: bool = False
    smooth: Literal["exp", "floor", "none"] = "exp"
    """Smoothing of n-gram orders without a match."""
    max_order: int = Field(default=4, ge=1, le=8)
    """Longest n-grams. A batch in which no answer has this many words scores 0: lower `max_order`
    for short answers."""


class InnerMetricSpec(BatchMetricSpec):
    """A metric of the values that another reward gives to the single answers."""

    reward: RewardSpec

    @model_validator(mode="after")
    def _inner_has_values(self) -> InnerMetricSpec:
        if depth_of(self, BatchMetricSpec) > 1:
            raise ValueError(
                f"{self.reward.type} cannot stand inside: it is a metric of the batch or has one "
                "inside, and no value per answer; give a reward that scores each answer"
            )
        return self


class PassAtKSpec(InnerMetricSpec):
    """Probability that at least one of k answers to a prompt is correct, averaged over prompts.

    Needs at least k answers to every prompt (`rollout.samples_per_prompt`), and a
    `rollout.temperature` above 0, so that the answers differ.
    """

    type: Literal["pass_at_k"] = "pass_at_k"
    k: int = Field(default=1, ge=1)
    """Number of answers drawn per prompt; at most `rollout.samples_per_prompt`."""
    threshold: float = Field(default=0.5, allow_inf_nan=False)
    """Least value of `reward` at which an answer is correct."""


class PercentileSpec(InnerMetricSpec):
    """The q-th percentile of another reward over the batch, such as its worst decile."""

    type: Literal["percentile"] = "percentile"
    q: float = Field(default=10.0, ge=0, le=100)
    """Percentile to take: 10 is the worst decile, 50 the median. Interpolated between answers."""


AnyBatchSpec = F1Spec | BalancedAccuracySpec | CorpusBleuSpec | PassAtKSpec | PercentileSpec
"""Every reward of this module, for the union in `reward.spec`."""
