"""Documents agree with the repository: links, commands, packages, the schema, quoted rules."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from alignment_api.cli.main import build_app
from alignment_api.processes.ownership import PACKAGES
from essa.coordinator import ladder
from essa.spec.reading.file import load_job_file
from tests.narrowing import present

ROOT = Path(__file__).resolve().parents[3]
SKIPPED = {"build", "dist", "node_modules", "__pycache__"}
LONGEST_FOLDER_README = 40
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def find_documents() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*.md")):
        parts = path.relative_to(ROOT).parts
        is_written_by_a_job = parts[:2] == ("tests", "data")
        if not is_written_by_a_job and not any(p.startswith(".") or p in SKIPPED for p in parts):
            yield path


DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in find_documents()]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def words(text: str) -> str:
    """One line, quote marks of Markdown removed."""
    return " ".join(text.replace("\n> ", "\n").split())


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_resolve(name) -> None:
    text = FENCE.sub("", read(name))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        assert place.exists(), f"{name} links to {target}, which is not there"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{name}: no #{anchor}"


def test_readme_shows_two_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    (block, *_) = re.findall(r"^```\n(.*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    assert block.split("\n")[:-1] == ["make demo", "make test"]
    assert {"demo", "test"} <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_documents_exist(name) -> None:
    text = read(name)
    code = "\n".join(FENCE.findall(text)) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", text))
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)) <= targets
    app = build_app()
    whole = code.replace("\\\n", " ")
    for line in re.findall(r"^(?:\.venv/bin/)?essa ([a-z-].*)", whole, re.MULTILINE):
        chain, apps, _ = app.parse_commands(line.split())
        assert chain, f"there is no essa {line}"
        known = apps[-1].assemble_argument_collection() if apps[-1].default_command else ()
        flags = {*chain, *(name for argument in known for name in argument.names)}
        assert set(re.findall(r"(?<!\S)--[\w-]+", line)) <= flags, f"essa {line}"


def test_readme_keeps_a_place_for_the_demo_output() -> None:
    text = read("README.md")
    assert 0 < text.find("<!-- demo output -->") < text.find("<!-- /demo output -->")


def test_architecture_shows_the_rooms_as_they_are() -> None:
    command = [sys.executable, str(ROOT / "tools" / "rooms.py"), "--picture"]
    picture = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip()
    text = read("docs/ARCHITECTURE.md")
    _, _, after = text.partition("<!-- tools/rooms.py --picture -->\n```\n")
    assert after.partition("\n```\n")[0] == picture


def test_example_of_the_python_api_finds_the_optimum(capsys) -> None:
    _, _, rest = read("docs/PYTHON.md").partition("```python\n")
    exec(compile(rest.partition("```")[0], "docs/PYTHON.md", "exec"), {})
    assert capsys.readouterr().out.split() == ["[1.", *["1."] * 6, "1.]"]


def test_committed_schema_is_current() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_schema.py"))
    assert read("docs/job.schema.json") == script["schema_text"](), (
        "run `python docs/make_schema.py`"
    )


def test_example_job_of_the_manual_is_valid(tmp_path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", read("docs/JOBS.md"), re.DOTALL)
    path = tmp_path / "job.yaml"
    path.write_text(block)
    assert load_job_file(path).data.test is not None


def test_manual_quotes_the_rule_of_the_ladder() -> None:
    text = words(read("docs/JOBS.md"))
    assert words(ladder.RULE) in text
    for target, sigmas in ladder.DEFAULT_SIGMAS.items():
        assert f"`{target}`: {', '.join(f'{sigma:g}' for sigma in sigmas)}" in text


def test_picture_is_well_formed_and_has_its_own_background() -> None:
    root = ElementTree.parse(ROOT / "docs" / "overview.svg").getroot()
    space = {"svg": "http://www.w3.org/2000/svg"}
    _, _, width, height = map(float, present(root.get("viewBox")).split())
    page = present(root.find("svg:rect", space))
    assert page.get("class") == "page"
    assert float(page.get("width", 0)) > 0.99 * width
    assert float(page.get("height", 0)) > 0.99 * height
    assert "prefers-color-scheme: dark" in root.findtext("svg:style", "", space)


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.endswith("/README.md")])
def test_folder_readme_is_short(name) -> None:
    assert len(read(name).splitlines()) <= LONGEST_FOLDER_README


def find_folders() -> Iterator[str]:
    """Every folder of modules, and those that stand beside the packages."""
    yield from ("examples", "benchmarks", "tests", "docs", "deploy")
    for package in PACKAGES:
        for module in sorted((ROOT / package).rglob("__init__.py")):
            yield module.parent.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("folder", list(find_folders()))
def test_folder_has_a_readme(folder) -> None:
    assert (ROOT / folder / "README.md").is_file()
