"""Draw the curves of a figure as SVG. Colours are CSS classes that the enclosing page defines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from essa.comparison.curves import Band
from essa.comparison.report.blocks import Figure

_WIDTH, _HEIGHT = 720, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 34, 46
_TICKS = 6
_LEGEND_CHAR = 7.2
"""Approximate width of one letter in the legend, in SVG units."""


def draw(figure: Figure, name: str) -> str:
    """Return an `svg` element with title and description.

    Args:
        figure: figure to draw; it has at least one curve.
        name: prefix of the element ids, unique on the page.
    """
    xs = [x for band in figure.curves.values() for x in band.x]
    ys = [y for band in figure.curves.values() for y in (*band.low, *band.high)]
    x_ticks, y_ticks = ticks(0.0, max(xs)), ticks(min(ys), max(ys))
    x_range = (0.0, max(max(xs), x_ticks[-1]))
    y_range = (min(min(ys), y_ticks[0]), max(max(ys), y_ticks[-1]))
    place = _Scale(x_range, y_range)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{name}-t {name}-d" class="chart">',
        f'<title id="{name}-t">{escape(figure.title)}</title>',
        f'<desc id="{name}-d">{escape(figure.description)}</desc>',
        *_axes(place, x_ticks, y_ticks, figure),
    ]
    for number, band in enumerate(figure.curves.values(), start=1):
        parts += _curve(place, band, number)
    parts += _legend(list(figure.curves))
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers that enclose a range, in steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        span = abs(high) or 1.0
        low, high = low - span / 2, high + span / 2
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


class _Scale:
    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._x, self._y = x_range, y_range

    def x(self, value: float) -> float:
        low, high = self._x
        width = _WIDTH - _LEFT - _RIGHT
        return round(_LEFT + width * (value - low) / ((high - low) or 1.0), 1)

    def y(self, value: float) -> float:
        low, high = self._y
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_HEIGHT - _BOTTOM - height * (value - low) / ((high - low) or 1.0), 1)


def _axes(
    place: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float], figure: Figure
) -> list[str]:
    parts: list[str] = []
    for value in y_ticks:
        y = place.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    floor = _HEIGHT - _BOTTOM
    for value in x_ticks:
        x = place.x(value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{floor}" y2="{floor + 4}"/>')
        text = _short(value)
        parts.append(f'<text x="{x}" y="{floor + 18}" text-anchor="middle">{text}</text>')
    unit = " (s)" if figure.axis.endswith("_s") else ""
    label = escape(figure.table.columns[1] + unit)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{label}</text>')
    return parts


def _curve(place: _Scale, band: Band, number: int) -> list[str]:
    parts: list[str] = []
    if any(low != high for low, high in zip(band.low, band.high, strict=True)):
        there = _stairs(place, band.x, band.high)
        back = reversed(_stairs(place, band.x, band.low))
        points = " ".join(f"{x},{y}" for x, y in (*there, *back))
        parts.append(f'<polygon class="band a{number}" points="{points}"/>')
    points = " ".join(f"{x},{y}" for x, y in _stairs(place, band.x, band.mean))
    parts.append(f'<polyline class="line a{number}" points="{points}"/>')
    parts += [
        f'<circle class="dot a{number}" cx="{place.x(x)}" cy="{place.y(y)}" r="2.5"/>'
        for x, y in zip(band.x, band.mean, strict=True)
    ]
    return parts


def _stairs(place: _Scale, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for x, y in zip(xs, ys, strict=True):
        if points:
            points.append((place.x(x), points[-1][1]))
        points.append((place.x(x), place.y(y)))
    return points


def _legend(names: Sequence[str]) -> list[str]:
    parts: list[str] = []
    x = float(_LEFT)
    for number, name in enumerate(names, start=1):
        parts.append(f'<line class="line a{number}" x1="{x}" x2="{x + 22}" y1="14" y2="14"/>')
        parts.append(f'<text class="name" x="{x + 28}" y="18">{escape(name)}</text>')
        x = round(x + 46 + _LEGEND_CHAR * len(name), 1)
    return parts


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 10 * size or (abs(value) >= size and unit != "k"):
            return f"{value / size:g}{unit}"
    return f"{value:g}"
