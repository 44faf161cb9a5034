"""Find completions in the Parquet files of a run, reading no more than a query needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alignment_api.records.schemas import Rollout, RolloutPage
from essa.errors import CheckpointCorruptError
from essa.records.rollouts import RolloutFile, rollout_files

COUNTED_ROWS = 400_000
"""Maximum number of rows that one request may read just to count matches."""


@dataclass(frozen=True)
class RolloutFilter:
    """Conditions on a completion; None accepts any. `text` is searched in prompt and completion."""

    set: str | None = None
    generation: int | None = None
    candidate: int | None = None
    model: str | None = None
    prompt: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    text: str | None = None

    def admits(self, file: RolloutFile) -> bool:
        """Return whether the file can have matches, judging by its name."""
        if self.candidate is not None and file.set != "train":
            return False
        if self.model is not None and file.set != "test":
            return False
        return self.set in (None, file.set) and self.generation in (None, file.generation)

    def expression(self) -> pc.Expression | None:
        """Return the condition on the rows of an admitted file; None if there is none."""
        parts = []
        if self.candidate is not None:
            parts.append(pc.field("candidate") == self.candidate)
        if self.model is not None:
            parts.append(pc.field("model") == self.model)
        if self.prompt is not None:
            parts.append(pc.field("prompt_index") == self.prompt)
        if self.min_score is not None:
            parts.append(pc.field("score") >= self.min_score)
        if self.max_score is not None:
            parts.append(pc.field("score") <= self.max_score)
        if self.text:
            parts.append(_contains("completion", self.text) | _contains("prompt", self.text))
        return reduce(and_, parts) if parts else None


def find_rollouts(run_dir: Path, wanted: RolloutFilter, after: int, limit: int) -> RolloutPage:
    """Return a page of completions.

    Args:
        after: number of the last completion seen; -1 for none.
    Raises:
        CheckpointCorruptError: a file is damaged.
    """
    condition = wanted.expression()
    found: list[Rollout] = []
    total: int | None = 0
    looked_at = 0
    for file, first, count in _numbered(run_dir):
        if not wanted.admits(file):
            continue
        if first + count > after + 1 and len(found) <= limit:
            missing = limit + 1 - len(found)
            found += _read(file, first, condition, after, missing)
        looked_at += count if condition is not None else 0
        if looked_at > COUNTED_ROWS:
            total = None
            if len(found) > limit:
                break
        if total is not None:
            total += count if condition is None else _count(file, condition)
    if total is None and after < 0 and len(found) <= limit:
        total = len(found)  # all matches were read anyway
    return RolloutPage(data=found[:limit], has_more=len(found) > limit, total=total)


def _numbered(run_dir: Path) -> Iterator[tuple[RolloutFile, int, int]]:
    """Yield each file with the number of its first row and its number of rows."""
    first = 0
    for file in rollout_files(run_dir):
        try:
            stat = file.path.stat()
            count = _rows(file.path, stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:  # a resumed run has deleted it in the meantime
            continue
        yield file, first, count
        first += count


@lru_cache(maxsize=20_000)
def _rows(path: Path, modified_ns: int, size: int) -> int:
    """Return the number of rows in a file's footer; a file is only ever replaced as a whole."""
    try:
        return pq.read_metadata(path).num_rows
    except pa.ArrowInvalid as error:
        raise _damaged(path, error) from error


def _read(
    file: RolloutFile, first: int, condition: pc.Expression | None, after: int, limit: int
) -> list[Rollout]:
    """Return up to `limit` matches with a number above `after`."""
    if after >= first:
        later = pc.field("row") > after - first
        condition = later if condition is None else condition & later
    rows: list[dict[str, Any]] = _scan(
        file.path, lambda scanner: scanner.head(limit).to_pylist(), condition, columns=None
    ) or []  # fmt: skip
    return [Rollout(n=first + row.pop("row"), **row) for row in rows]


def _count(file: RolloutFile, condition: pc.Expression) -> int:
    return _scan(file.path, lambda scanner: scanner.count_rows(), condition, columns=[]) or 0


def _scan(path: Path, ask: Any, condition: pc.Expression | None, columns: list[str] | None) -> Any:
    """Call `ask` with a scanner of one file; None if the file is gone."""
    # Imported here: it also imports pandas where installed (extra `baseline`), which costs 50 MB.
    import pyarrow.dataset as ds

    try:
        # The search on this machine needs the cores more.
        scanner = ds.dataset(path, format="parquet").scanner(
            columns=columns, filter=condition, use_threads=False, batch_readahead=1
        )
        return ask(scanner)
    except FileNotFoundError:
        return None
    except pa.ArrowInvalid as error:
        raise _damaged(path, error) from error


def _contains(column: str, text: str) -> pc.Expression:
    # pyarrow defines its compute functions at import time.
    match = pc.match_substring  # pyright: ignore[reportAttributeAccessIssue]
    return match(pc.field(column), text, ignore_case=True)


def _damaged(path: Path, error: Exception) -> CheckpointCorruptError:
    reason = str(error).partition("\n")[0]
    return CheckpointCorruptError(f"{path} is damaged: {reason}; delete it or restore a backup")
