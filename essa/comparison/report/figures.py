"""The charts of a comparison: best validation score over each axis."""

from __future__ import annotations

from essa.comparison.curves import Band
from essa.comparison.history import AXES
from essa.comparison.report.blocks import Figure, Table
from essa.comparison.report.wording import AXIS_NAMES, amount, score
from essa.comparison.summary import Summary

_MOST_ROWS = 12
"""Maximum number of rows per arm in the table beside a chart."""


def all_figures(summary: Summary) -> list[Figure]:
    """Return one chart per axis that has a curve."""
    return [figure for axis in AXES for figure in [axis_figure(summary, axis)] if figure.curves]


def axis_figure(summary: Summary, axis: str) -> Figure:
    """Return the chart of the best validation score so far over one axis."""
    curves = {arm: bands[axis] for arm, bands in summary.curves.items() if bands[axis].x}
    name = AXIS_NAMES[axis]
    said = [
        f"{arm} goes from {score(band.mean[0])} to {score(band.mean[-1])} "
        f"in {amount(axis)(band.x[-1])}"
        for arm, band in curves.items()
    ]
    rows = [row for arm, band in curves.items() for row in _rows(arm, band, axis)]
    return Figure(
        title=f"Validation over {name}",
        axis=axis,
        description=f"Best validation score so far over {name}, mean over seeds"
        + "".join(f"; {one}" for one in said)
        + ".",
        curves=curves,
        table=Table(
            f"Data of validation over {name}",
            ("arm", name, "mean", "lowest", "highest"),
            tuple(rows),
        ),
    )


def _rows(arm: str, band: Band, axis: str) -> list[tuple[str, ...]]:
    last = len(band.x) - 1
    shown = range(last + 1)
    if last >= _MOST_ROWS:
        step = last / (_MOST_ROWS - 1)
        shown = sorted({round(place * step) for place in range(_MOST_ROWS)})
    return [
        (
            arm,
            amount(axis)(band.x[n]),
            score(band.mean[n]),
            score(band.low[n]),
            score(band.high[n]),
        )
        for n in shown
    ]
