"""The arithmetic of batch metrics, on plain numbers.

How a metric of P answers is shared out among them. Let theta be the metric, theta_without_p the
metric of all answers but the p-th. Tukey's pseudo-value of answer p is

    v_p = theta + (P - 1) * (theta - theta_without_p)

For a mean it is the answer's own value. Else the mean of the pseudo-values is the jackknife's
estimate of theta with less bias, which is not theta. The fitness of a candidate has to be theta, so
all values are moved by the same amount until their mean is:

    share_p = theta + (P - 1) * (mean_q(theta_without_q) - theta_without_p)

The mean is theta by construction, and the spread is that of the pseudo-values, whose variance over
P estimates that of theta. So whatever treats the values of the answers as a sample (halves of the
prompts, the bootstrap) works on shares to first order in 1/P. It does not on metrics that are not
smooth: leaving one answer out moves a percentile to a neighbouring value, the same for all answers
on one side of it, so that shares take three values at most and an interval from them is no more
than an order of magnitude. Theta is exact there too.

Source:
    Tukey (1958), Bias and confidence in not-quite large samples; Efron and Tibshirani (1993), An
    Introduction to the Bootstrap, chapter 11, which also shows the failure at the median.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple


class LabelCount(NamedTuple):
    """One class over a batch.

    Attributes:
        hits: rows of the class that got its label.
        alarms: rows of other classes that got its label.
        misses: rows of the class that got another label, or none.
    """

    hits: float
    alarms: float
    misses: float


def mean_of(values: Sequence[float]) -> float:
    """The mean, in any order the same; 0 where it is nothing but rounding.

    Shares that cancel would otherwise give 1e-17 in place of 0, or minus that, which has no root.
    """
    mean = math.fsum(values) / len(values)
    return 0.0 if abs(mean) < _rounding(values) else mean


def means_without_each(values: Sequence[float]) -> list[float]:
    """The mean without each of at least two values; 0 where it is nothing but rounding."""
    total, rounding = math.fsum(values), _rounding(values)
    means = [(total - value) / (len(values) - 1) for value in values]
    return [0.0 if abs(mean) < rounding else mean for mean in means]


def shares_of(whole: float, without: Sequence[float]) -> list[float]:
    """Share a metric out among P answers; see the top of this module.

    Args:
        whole: the metric of all P answers.
        without: P values, the metric without each of them.
    Returns:
        P values; their mean is `whole` up to rounding.
    """
    drops = [whole - other for other in without]
    mean = math.fsum(drops) / len(drops)
    return [whole + (len(drops) - 1) * (drop - mean) for drop in drops]


def f1_of(counts: Sequence[LabelCount]) -> float:
    """F1 of the classes taken together; 0 where none of them occurs."""
    hits = sum(count.hits for count in counts)
    wrong = sum(count.alarms + count.misses for count in counts)
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def macro_f1_of(counts: Sequence[LabelCount]) -> float:
    """Mean F1 of the classes that some row belongs to."""
    scores = [f1_of([count]) for count in counts if count.hits + count.misses]
    return math.fsum(scores) / len(scores)


def balanced_accuracy_of(counts: Sequence[LabelCount]) -> float:
    """Mean recall of the classes that some row belongs to."""
    recalls = [
        count.hits / (count.hits + count.misses) for count in counts if count.hits + count.misses
    ]
    return math.fsum(recalls) / len(recalls)


def percentile_of(values: Sequence[float], q: float) -> float:
    """The q-th percentile, interpolated linearly between order statistics as NumPy does.

    Args:
        values: at least one.
        q: in [0, 100].
    """
    return _between(sorted(values), q, skip=len(values))


def percentile_without_each(values: Sequence[float], q: float) -> list[float]:
    """The q-th percentile without each of at least two values, from one sorting."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ordered = [values[index] for index in order]
    without = [0.0] * len(values)
    for rank, index in enumerate(order):
        without[index] = _between(ordered, q, skip=rank)
    return without


def _between(ordered: Sequence[float], q: float, skip: int) -> float:
    """Percentile of sorted values without that at rank `skip`; past the end it skips none."""
    count = len(ordered) - (skip < len(ordered))
    place = q / 100 * (count - 1)
    lower = math.floor(place)
    upper = min(lower + 1, count - 1)
    low, high = (ordered[rank + (rank >= skip)] for rank in (lower, upper))
    return low + (high - low) * (place - lower) if high > low else low


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n samples, drawn without replacement, have a correct one among them.

    Args:
        n: samples of one prompt, at least k.
        c: those that are correct.
        k: samples that are allowed.
    Source:
        Chen et al. (2021), arXiv:2107.03374, equation 1; without bias over the samples.
    """
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def _rounding(values: Sequence[float]) -> float:
    return 16 * sys.float_info.epsilon * max(abs(value) for value in values)
