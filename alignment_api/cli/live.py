"""Show a job's events while it runs: a table on a terminal, lines elsewhere."""

from __future__ import annotations

from collections import deque
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from alignment_api.cli.result import print_result
from alignment_api.cli.text import duration, event_line, number
from essa.events import (
    Event,
    GenerationEvent,
    LadderEvent,
    ResultEvent,
    StageEvent,
    ValidationEvent,
)

__all__ = ["LiveView", "print_result"]

_SHOWN_GENERATIONS = 12


class LiveView:
    """Shows events as they come. A context manager; the table stays after its end.

    Use `print_result` for what comes out of a job.
    """

    def __init__(self, console: Console | None = None, title: str = "alignment") -> None:
        self._console = console or Console()
        self._title = title
        self._stage = StageEvent(stage="queued")
        self._generations: deque[GenerationEvent] = deque(maxlen=_SHOWN_GENERATIONS)
        self._validations: dict[int, ValidationEvent] = {}
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.update(self._table())
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StageEvent):
            self._stage = event
        elif isinstance(event, GenerationEvent):
            # A job that resumed may report its last generation again.
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
        elif not isinstance(event, StageEvent | GenerationEvent | ValidationEvent | ResultEvent):
            self._print(event_line(event))
        self._live.update(self._table())

    def note(self, message: str) -> None:
        """Show a line that is not an event."""
        self._print(message)

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _table(self) -> Group:
        stage = self._stage
        parts = [f"{self._title}: {stage.stage}"]
        if stage.total is not None:
            parts.append(f"{stage.done or 0}/{stage.total}")
        if stage.message:
            parts.append(stage.message)
        if self._generations and self._generations[-1].eta_s is not None:
            parts.append(f"ETA {duration(self._generations[-1].eta_s)}")
        head = Text("  ".join(parts), style="bold")
        return Group(head, self._generation_table()) if self._generations else Group(head)

    def _generation_table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        is_search = self._generations[-1].sigma is not None
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


def _movement(event: GenerationEvent) -> tuple[str, str]:
    if event.sigma is None:
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
