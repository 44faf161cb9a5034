"""Timeline of the engines' work: a file of JSON lines, one per evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from essa.storage.atomic_file import write_file
from essa.types import EvaluationKind, WorkSpan

FILE = "timeline.jsonl"


class Work(NamedTuple):
    """Work items of one evaluation, with times in seconds since the job's start.

    `generation` is None for the test, and 0 before the first generation.
    """

    kind: EvaluationKind
    generation: int | None
    spans: tuple[WorkSpan, ...]


def append_work(run_dir: Path, work: Work) -> None:
    """Append an evaluation to the timeline."""
    path = run_dir / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(_line(work))


def read_timeline(run_dir: Path) -> list[Work]:
    """Return all evaluations in order, skipping a line that a crash left incomplete."""
    try:
        lines = (run_dir / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [work for line in lines if (work := _work(line)) is not None]


def cut_timeline(run_dir: Path, after: int) -> None:
    """Remove generations after `after` and the test, which will be evaluated again."""
    works = read_timeline(run_dir)
    kept = [work for work in works if work.generation is not None and work.generation <= after]
    if (run_dir / FILE).exists():
        write_file(run_dir / FILE, b"".join(map(_line, kept)))


def _line(work: Work) -> bytes:
    spans = [
        [
            span.engine,
            round(span.started_s, 3),
            round(span.ended_s, 3),
            span.candidates,
            span.tokens,
        ]
        for span in work.spans
    ]
    text = json.dumps([work.kind, work.generation, spans], separators=(",", ":"))
    return text.encode() + b"\n"


def _work(line: bytes) -> Work | None:
    try:
        kind, generation, spans = json.loads(line)
    except ValueError:
        return None
    return Work(
        kind,
        generation,
        tuple(WorkSpan(engine, start, end, tuple(who), n) for engine, start, end, who, n in spans),
    )
