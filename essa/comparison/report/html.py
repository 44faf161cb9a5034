"""A report as one HTML file: inline SVG and style, no scripts, no external resources."""

from __future__ import annotations

from collections.abc import Sequence

from essa.comparison.report.blocks import Block, Figure
from essa.comparison.report.svg_chart import draw

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2530; --soft: #566270; --rule: #d8dde3;
  --a1: #2563c9; --a2: #b4570a; --a3: #0f7d72; --a4: #a12a76; --a5: #6d4fc4; --a6: #5f6b2a;
  --a7: #b3261e; --a8: #4a5568; }
@media (prefers-color-scheme: dark) { :root { --page: #14181e; --ink: #e6eaf0; --soft: #a3adba;
  --rule: #333c48; --a1: #7fb0ff; --a2: #f3a75a; --a3: #4fd1c1; --a4: #f08cc6; --a5: #b9a3ff;
  --a6: #c3d06b; --a7: #ff8a80; --a8: #a0aec0; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 0.4rem; }
p.note, p.made { color: var(--soft); font-size: 0.87rem; margin: 0.3rem 0; }
figure { margin: 0; } .wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--a1); }
table { border-collapse: collapse; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { text-align: left; padding: 0.25rem 0.7rem 0.25rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
pre { overflow-x: auto; padding: 0.7rem; border: 1px solid var(--rule); font-size: 0.8rem; }
code { font-size: 0.95em; }
.chart { width: 100%; height: auto; } .chart text { fill: var(--soft); font-size: 12px; }
.chart .name { fill: var(--ink); } .grid { stroke: var(--rule); }
.line { fill: none; stroke: var(--c); stroke-width: 2; } .dot { fill: var(--c); }
.band { fill: var(--c); fill-opacity: 0.16; }
.a1 { --c: var(--a1); } .a2 { --c: var(--a2); } .a3 { --c: var(--a3); } .a4 { --c: var(--a4); }
.a5 { --c: var(--a5); } .a6 { --c: var(--a6); } .a7 { --c: var(--a7); } .a8 { --c: var(--a8); }
.line.a2 { stroke-dasharray: 7 3; } .line.a3 { stroke-dasharray: 2 3; }
.line.a4 { stroke-dasharray: 9 3 2 3; } .line.a5 { stroke-dasharray: 12 4; }
.line.a6 { stroke-dasharray: 4 4; } .line.a7 { stroke-dasharray: 1 4; }
.line.a8 { stroke-dasharray: 14 3 3 3; }
"""
"""Style sheet of the page. Arms differ by dashes as well as by colour."""

_PAGE = """\
{% macro grid(table) %}
<div class="wide" tabindex="0" role="region" aria-label="{{ table.title }}"><table>
<thead><tr>{% for name in table.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% set made %}<p class="made">Made by <code>{{ command }}</code>.</p>{% endset %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% for kind, block, chart in blocks %}
<h2>{{ block.title }}</h2>
{% if kind == "Text" %}
{% for text in block.paragraphs %}<p>{{ text }}</p>{% endfor %}
{% elif kind == "Code" %}
<pre tabindex="0" role="region" aria-label="{{ block.title }}">{{ block.text }}</pre>
{% elif kind == "Figure" %}
<figure>{{ chart | safe }}<p class="note">{{ block.description }}</p></figure>
<details><summary>The same as a table</summary>{{ grid(block.table) }}</details>
{{ made }}
{% else %}
{% if block.note %}<p class="note">{{ block.note }}</p>{% endif %}
{{ grid(block) }}
{{ made }}
{% endif %}
{% endfor %}
</main>
</body>
</html>
"""
"""Template of the page. Inserted text is escaped, except the style and the charts (which escape
names themselves)."""


def to_html(title: str, blocks: Sequence[Block], command: str) -> str:
    """Return the report as HTML.

    Args:
        title: title of the report.
        blocks: parts of the report, in order.
        command: command line that reproduces every table and figure.
    """
    from jinja2 import Environment, StrictUndefined

    page = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    ).from_string(_PAGE)
    charts = [
        draw(block, f"f{number}") if isinstance(block, Figure) else ""
        for number, block in enumerate(blocks)
    ]
    kinds = [type(block).__name__ for block in blocks]
    return page.render(
        title=title,
        style=_STYLE,
        blocks=zip(kinds, blocks, charts, strict=True),
        command=command,
    )
