"""Metrics of a whole batch: rewards that no single answer has a value of.

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
    """A metric of the whole batch. Its mean is the metric, its single values are shares of it."""


class LabelMetricSpec(BatchMetricSpec):
    """How a label is read from the completion, and where the right one stands."""

    labels: tuple[str, ...] = Field(min_length=2, max_length=100)
    """All classes, as the completion names them."""
    reference: str = Field(default="answer", min_length=1)
    """Column of the row that holds the right label: one of `labels`, text or a number."""
    take: Literal["first", "last"] = "last"
    """Which label counts where the completion names several, as whole words. A completion that
    names none is wrong, not missing."""
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
        """The form in which labels are compared."""
        text = " ".join(text.split())
        return text.casefold() if self.ignore_case else text


class F1Spec(LabelMetricSpec):
    """F1 of the labels read from the completions, over the batch."""

    type: Literal["f1"] = "f1"
    average: Literal["binary", "macro", "micro"] = "macro"
    """`binary`: of the label `positive`; `macro`: mean over the labels that are right for some row
    of the batch; `micro`: of all labels taken together."""
    positive: str | None = None
    """The label that `binary` is about."""

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
    """Mean over the classes of the share of their rows that the completions label rightly.

    Unlike accuracy it cannot be won by naming the most frequent label. Counted are the classes that
    are right for some row of the batch.
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
    """How an n-gram order without a match is smoothed."""
    max_order: int = Field(default=4, ge=1, le=8)
    """Longest n-grams. A batch in which no answer has this many words scores 0: lower it for short
    answers."""


class InnerMetricSpec(BatchMetricSpec):
    """A metric of the values that another reward gives the single answers."""

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
    """Chance that of k answers to one prompt at least one is correct, as the mean over prompts.

    Needs k answers to every prompt: `rollout.samples_per_prompt`, and `rollout.temperature` above
    0, so that they differ.
    """

    type: Literal["pass_at_k"] = "pass_at_k"
    k: int = Field(default=1, ge=1)
    """Answers that are allowed; at most `rollout.samples_per_prompt`."""
    threshold: float = Field(default=0.5, allow_inf_nan=False)
    """An answer is correct where `reward` gives it at least this."""


class PercentileSpec(InnerMetricSpec):
    """The q-th percentile of another reward over the batch, such as its worst decile."""

    type: Literal["percentile"] = "percentile"
    q: float = Field(default=10.0, ge=0, le=100)
    """10 is the worst decile, 50 the median. Between two answers it is interpolated."""
