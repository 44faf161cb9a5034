"""Tables of a model card, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from essa.events import ConstraintStatus, ResultEvent, ScoreSummary
from workers.export.provenance import Provenance

MODELS = {"base": "base", "warm_start": "warm start", "aligned": "aligned"}


def cell(value: object) -> str:
    """Return text escaped so that it stays inside its cell and is not HTML."""
    text = " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(value) for value in line)} |" for line in lines)


def score_table(result: ResultEvent, searched: str) -> str:
    """Return the test scores of the three models, on the search's base and the serving base."""
    rows = list(scored_models(result, searched))
    components = list(dict.fromkeys(name for *_, score in rows for name in score.components))
    head = ["model", "base", "score", "95 % interval", *components, "prompts", "missing"]
    return table(
        head,
        [
            [
                MODELS[model],
                precision,
                number(score.mean),
                interval(score.ci95),
                *(number(score.components.get(name)) for name in components),
                score.prompts,
                score.missing,
            ]
            for model, precision, score in rows
        ],
    )


def constraint_table(result: ResultEvent, searched: str) -> str | None:
    """Return how well each model satisfies the constraints; None if there are no constraints."""
    rows = [
        [
            MODELS[model],
            precision,
            f"{one.component} {one.direction} {number(one.threshold)}",
            number(one.value),
            interval(one.ci95),
            _held(one),
        ]
        for model, precision, score in scored_models(result, searched)
        for one in score.constraints
    ]
    head = ["model", "base", "constraint", "measured", "95 % interval", "held"]
    return table(head, rows) if rows else None


def scored_models(result: ResultEvent, searched: str) -> Iterator[tuple[str, str, ScoreSummary]]:
    """Yield model, precision of the base, and score."""
    for model in MODELS:
        if model in result.test:
            yield model, searched, result.test[model]
    for model in MODELS if result.serving is not None else ():
        if result.serving is not None and model in result.serving.test:
            yield model, result.serving.precision, result.serving.test[model]


def data_table(provenance: Provenance) -> str:
    """Return the data sets' files, and the origin of sets without a file."""
    rows: list[list[object]] = []
    given = {record.set: record for record in provenance.data}
    for name, prompts in provenance.sizes.items():
        record = given.get(name)
        if record is None:
            rows.append([name, "cut from train", "", prompts, ""])
        else:
            used = f"{record.rows}" + (f", first {record.limit}" if record.limit else "")
            rows.append([name, record.name, used, prompts, f"`{record.sha256}`"])
    return table(["set", "file", "rows", "prompts", "SHA-256"], rows)


def version_table(provenance: Provenance) -> str:
    """Return the package versions, by name."""
    return table(["package", "version"], sorted(provenance.versions.items()))


def number(value: float | None) -> str:
    """Format with three decimals; a dash if there is no number."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def interval(bounds: tuple[float, float] | None) -> str:
    """Format both ends of an interval."""
    return "–" if bounds is None else f"{number(bounds[0])} to {number(bounds[1])}"


def _held(one: ConstraintStatus) -> str:
    return "yes" if one.is_held else f"no, missed by {number(one.violation)} of its range"
