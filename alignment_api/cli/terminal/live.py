"""Show a job's events while it runs: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from alignment_api.cli.terminal.result import print_result
from alignment_api.cli.terminal.text import duration, event_line, number, stage_text
from essa.events import (
    Event,
    GenerationEvent,
    LadderEvent,
    ResultEvent,
    RoundEvent,
    StageEvent,
    StepEvent,
    ValidationEvent,
)

__all__ = ["LiveView", "print_result"]

_SHOWN_GENERATIONS = 12
QUIET_S = 8.0
"""Seconds without output after which the stage is printed again, if there is no table."""
_SHOWN_QUIET_S = 3.0
"""Seconds of silence from which the table shows their count; showing it sooner would flicker."""


class LiveView:
    """Shows events as they arrive. A context manager; the table stays on screen afterwards.

    Use `print_result` to show a job's result.

    Args:
        quiet_s: seconds without output after which the stage is printed again, without a terminal.
    """

    def __init__(
        self,
        console: Console | None = None,
        title: str = "alignment",
        *,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._console = console or Console()
        self._title = title
        self._quiet_s = quiet_s
        self._stage = StageEvent(stage="queued")
        self._heard_s = self._printed_s = time.monotonic()
        self._ended = threading.Event()
        self._reminder = threading.Thread(target=self._remind, daemon=True)
        self._generations: deque[GenerationEvent | StepEvent] = deque(maxlen=_SHOWN_GENERATIONS)
        self._validations: dict[int, ValidationEvent] = {}
        self._live: Live | None = None
        if self._console.is_terminal:
            # Called at every refresh, so that the seconds count up while no event arrives.
            self._live = Live(
                console=self._console,
                refresh_per_second=4,
                transient=False,
                get_renderable=self._table,
            )

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
        else:
            self._reminder.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()
        else:
            self._reminder.join()

    def on_event(self, event: Event) -> None:
        """Show one event."""
        self._heard_s = time.monotonic()
        if isinstance(event, StageEvent):
            self._stage = event
        elif isinstance(event, RoundEvent):
            # A resumed job may report its last generation again.
            kept = [old for old in self._generations if old.generation < event.generation]
            self._generations = deque([*kept, event], maxlen=_SHOWN_GENERATIONS)
        elif isinstance(event, ValidationEvent):
            self._validations[event.generation] = event
        if self._live is None:
            line = event_line(event)
            if line:
                self._print(line)
            return
        if isinstance(event, LadderEvent):
            self._print(f"step size: sigma {event.chosen_sigma:g} ({event.rule})")
            self._console.print(_ladder_table(event))
        elif not isinstance(event, StageEvent | RoundEvent | ValidationEvent | ResultEvent):
            self._print(event_line(event))

    def note(self, message: str) -> None:
        """Show a line of text that is not an event."""
        self._print(message)

    def _print(self, line: str) -> None:
        self._printed_s = time.monotonic()
        self._console.print(Text(line), soft_wrap=True)

    def _remind(self) -> None:
        """If there is no table, print the current stage whenever nothing was printed for long."""
        pause_s = self._quiet_s
        while not self._ended.wait(pause_s):
            now_s = time.monotonic()
            pause_s = self._quiet_s - (now_s - self._printed_s)
            if pause_s <= 0:
                since = stage_text(self._stage, now_s - self._heard_s)
                self._print(f"[{self._stage.stage}] {since}")
                pause_s = self._quiet_s

    def _table(self) -> Group:
        stage, quiet_s = self._stage, time.monotonic() - self._heard_s
        parts = [f"{self._title}: {stage.stage}"]
        said = stage_text(stage, quiet_s if quiet_s >= _SHOWN_QUIET_S else None)
        if said:
            parts.append(said)
        if self._generations and self._generations[-1].eta_s is not None:
            parts.append(f"ETA {duration(self._generations[-1].eta_s)}")
        head = Text("  ".join(parts), style="bold")
        return Group(head, self._generation_table()) if self._generations else Group(head)

    def _generation_table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        is_search = isinstance(self._generations[-1], GenerationEvent)
        moves = ("sigma", "reliab.") if is_search else ("grad norm", "train s")
        for name in ("gen", "best", "mean", "worst", "validation", *moves, "tok/s"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        for event in self._generations:
            validation = self._validations.get(event.generation)
            shown = "" if validation is None else number(validation.score)
            table.add_row(
                str(event.generation),
                number(event.best),
                number(event.mean),
                number(event.worst),
                shown + ("*" if validation is not None and validation.is_best else ""),
                *_movement(event),
                f"{event.tokens_per_s:.0f}",
                duration(event.elapsed_s),
            )
        return table


def _movement(event: GenerationEvent | StepEvent) -> tuple[str, str]:
    if isinstance(event, StepEvent):
        return number(event.training.get("grad_norm")), f"{event.train_s:.1f}"
    return f"{event.sigma:.3g}", number(event.reliability, 2)


def _ladder_table(event: LadderEvent) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("sigma", "reliability", "mean", "best"):
        table.add_column(name, justify="right")
    for rung in event.rungs:
        table.add_row(
            f"{rung.sigma:g}",
            number(rung.reliability, 2),
            number(rung.mean_fitness),
            number(rung.best_fitness),
            style="bold" if rung.sigma == event.chosen_sigma else None,
        )
    return table
