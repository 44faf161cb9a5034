"""Tags and sections of the completion."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from reward.base import ItemReward
from reward.sample import Sample
from reward.spec import FormatReward


class _Span(NamedTuple):
    start: int
    end: int


class Format(ItemReward[FormatReward]):
    """Whether tags and sections are there, as 0 or 1 or as the share of points kept.

    Points: every tag occurs once, closed and not empty; several tags follow one another in the
    order given (in any order, without overlap, where `ordered` is false); with `only`, all tags
    are right and there is nothing else; every section occurs. An empty completion keeps none.

    A template may open the first tag at the end of the prompt, as those of reasoning models do;
    such an opening belongs to the completion.
    """

    def _score_item(self, sample: Sample) -> float:
        spec = self.spec
        text = self._opening(sample.prompt) + sample.completion
        spans = [_find(text, tag) for tag in spec.tags]
        right = [span for span in spans if span is not None]
        complete = len(right) == len(spans)
        points = [span is not None for span in spans]
        points += [_has_heading(text, section) for section in spec.sections]
        if len(spec.tags) > 1:
            points.append(complete and _in_a_row(right if spec.ordered else sorted(right)))
        if spec.only:
            points.append(complete and not _outside(text, right).strip())
        return float(all(points)) if spec.require == "all" else sum(points) / len(points)

    def _opening(self, prompt: str) -> str:
        end = prompt.rstrip()
        return next((f"<{tag}>" for tag in self.spec.tags if end.endswith(f"<{tag}>")), "")


def _find(text: str, tag: str) -> _Span | None:
    """Where the tag stands, from its opening to the end of its closing; None if it is not right."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    if text.count(opening) != 1 or text.count(closing) != 1:
        return None
    start, inner_end = text.index(opening), text.index(closing)
    if not text[start + len(opening) : inner_end].strip():
        return None
    return _Span(start, inner_end + len(closing))


def _in_a_row(spans: list[_Span]) -> bool:
    return all(one.end <= other.start for one, other in pairwise(spans))


def _outside(text: str, spans: list[_Span]) -> str:
    rest, end = [], 0
    for span in sorted(spans):
        rest.append(text[end : span.start])
        end = max(end, span.end)
    return "".join([*rest, text[end:]])


def _has_heading(text: str, section: str) -> bool:
    name = r"[ \t]+".join(re.escape(word) for word in section.split())
    # Blanks and stars are bounded, so that a line of them takes linear time.
    bold = r"[*_]{0,3}"
    hashed = rf"#{{1,6}}[ \t]{{1,8}}{bold}{name}[ \t]?:?{bold}:?[ \t]{{0,8}}#{{0,6}}[ \t\r]*$"
    colon = rf"{bold}{name}{bold}[ \t]?:"
    pattern = rf"^[ \t]{{0,3}}(?:{hashed}|{colon})"
    return re.search(pattern, text, re.IGNORECASE | re.MULTILINE) is not None
