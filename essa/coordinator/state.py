"""What a run remembers between generations, and how it is saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from essa.errors import CheckpointIncompatibleError
from essa.search.base import SearchState
from essa.storage.checkpoint import checkpoint_exists, load_checkpoint, save_checkpoint
from essa.types import FloatArray

_SEARCH = "search."
_WRITTEN_APART = ("best_vector", "best_score", "best_ci95", "best_merit", "search")


@dataclass(frozen=True)
class Preparation:
    """What a job has used before its first generation.

    Attributes:
        seconds: since the start of the job, the warm start's included.
        tokens, samples: of the warm start.
        warm_start_s: seconds that making the warm start took; 0 where the adapter was there.
    """

    seconds: float = 0.0
    tokens: int = 0
    samples: int = 0
    warm_start_s: float = 0.0


@dataclass(frozen=True)
class Used:
    """What a run has used of its budget, in the units of `BudgetSpec`."""

    generations: int = 0
    seconds: float = 0.0
    tokens: int = 0
    completions: int = 0


@dataclass
class RunState:
    """Progress of one run. `best_vector` is the mean vector with the best validation verdict."""

    basis_digest: str
    generation: int = 0
    sigma_init: float = 0.0
    best_vector: FloatArray = field(default_factory=lambda: np.zeros(0))
    best_score: float = float("-inf")
    best_merit: tuple[float, ...] = ()
    """Orders mean vectors; empty while none has been judged."""
    best_ci95: tuple[float, float] = (float("nan"), float("nan"))
    best_generation: int = 0
    tokens: int = 0
    samples: int = 0
    completions: int = 0
    """Of `samples`, those of training prompts since the warm start: of ladder and generations."""
    elapsed_s: float = 0.0
    at_start: Used = field(default_factory=lambda: Used())
    """What was used up when the first generation began."""
    warm_start_s: float = 0.0
    """Of `elapsed_s`, what making the warm start took."""
    warm_start_tokens: int = 0
    """Of `tokens`."""
    unreliable_streak: int = 0
    uninformative_streak: int = 0
    stop_reason: str = ""
    """Why the search ended; empty while it goes on."""
    search: SearchState | None = None
    objective: dict[str, Any] = field(default_factory=dict)
    """What the objective has learned."""

    def used(self, elapsed_s: float) -> Used:
        """What has been used up, the warm start's share included."""
        return Used(self.generation, elapsed_s, self.tokens, self.completions)

    @classmethod
    def begin(cls, basis_digest: str, dimension: int, before: Preparation) -> RunState:
        """Of a run that has done nothing but what came before; `dimension` is D."""
        return cls(
            basis_digest=basis_digest,
            best_vector=np.zeros(dimension),
            elapsed_s=before.seconds,
            warm_start_s=before.warm_start_s,
            tokens=before.tokens,
            warm_start_tokens=before.tokens,
            samples=before.samples,
        )


@dataclass(frozen=True)
class OpenedRun:
    """A run at its start. `notes` are what the user should know of the checkpoint."""

    state: RunState
    is_resumed: bool
    notes: tuple[str, ...]


def open_run(
    path: Path | None, basis_digest: str, *, dimension: int, before: Preparation
) -> OpenedRun:
    """Go on from the checkpoint at `path`, or begin where there is none.

    Args:
        basis_digest: identity of what vectors stand on.
        dimension: D.
        before: counted by a run that begins.
    Raises:
        CheckpointIncompatibleError, CheckpointCorruptError: see `load_run`.
    """
    notes: list[str] = []
    saved = load_run(path, basis_digest, notes.append) if path is not None else None
    state = saved or RunState.begin(basis_digest, dimension, before)
    return OpenedRun(state, saved is not None, tuple(notes))


def save_run(path: Path, state: RunState) -> None:
    """Write a checkpoint that a crash cannot tear."""
    meta: dict[str, Any] = {
        it.name: getattr(state, it.name) for it in fields(state) if it.name not in _WRITTEN_APART
    }
    meta["at_start"] = asdict(state.at_start)
    # JSON has no infinity: a run without any validation score has none to write.
    meta["best"] = None
    if np.isfinite(state.best_score):
        meta["best"] = {
            "score": state.best_score,
            "ci95": state.best_ci95,
            "merit": state.best_merit,
        }
    arrays = {"best_vector": state.best_vector}
    if state.search is not None:
        meta["search"] = state.search.to_meta()
        arrays |= {_SEARCH + name: array for name, array in state.search.arrays.items()}
    save_checkpoint(path, arrays, meta)


def load_run(
    path: Path, basis_digest: str, on_fallback: Callable[[str], None] | None = None
) -> RunState | None:
    """Read the checkpoint at `path`; None where there is none.

    Args:
        on_fallback: told where the newest copy is damaged and the one before is used.
    Raises:
        CheckpointIncompatibleError: it was written over other bases.
        CheckpointCorruptError: no intact copy is left.
    """
    if not checkpoint_exists(path):
        return None
    arrays, meta = load_checkpoint(path, on_fallback)
    if meta["basis_digest"] != basis_digest:
        raise CheckpointIncompatibleError(
            f"checkpoint {path} belongs to bases {meta['basis_digest'][:12]}, the job has "
            f"{basis_digest[:12]}: singular vectors are not unique, so a run can only resume over "
            "its own bases; start a new job",
        )
    search_meta = meta.pop("search", None)
    best = meta.pop("best")
    at_start = Used(**meta.pop("at_start", {}))
    state = RunState(**meta, at_start=at_start, best_vector=arrays["best_vector"])
    if best is not None:
        state.best_score, state.best_ci95 = best["score"], tuple(best["ci95"])
        state.best_merit = tuple(best["merit"])
    if search_meta is not None:
        state.search = SearchState.from_parts(
            {
                name.removeprefix(_SEARCH): array
                for name, array in arrays.items()
                if name.startswith(_SEARCH)
            },
            search_meta,
        )
    return state
