"""Which cores engines of different jobs on one machine get."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from essa.errors import EngineStartError
from essa.spec import TransformersEngineSpec
from tests.narrowing import present
from workers.cluster.engine_actor import EngineActor
from workers.engines.build import EngineBuild

ROOT = Path(__file__).parents[4]
CLAIM = """
import sys
from workers.cluster.core_claim import claim_cores
print(claim_cores([4, 5, 6, 7], [int(word) for word in sys.argv[1:]]), flush=True)
sys.stdin.read()
"""
Claim = Callable[..., str]


@pytest.fixture
def claim(tmp_path, monkeypatch) -> Iterator[Claim]:
    """Claim positions among four cores in a process of its own, which holds them till the end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    processes = []

    def start(*positions: int) -> str:
        command = [sys.executable, "-c", CLAIM, *map(str, positions)]
        root = Path(__file__).resolve().parents[4]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )
        processes.append(process)
        return present(process.stdout).readline().strip()

    yield start
    for process in processes:
        process.communicate()


def test_a_first_engine_gets_the_cores_of_its_positions(claim):
    assert claim(1, 2) == "[5, 6]"


def test_an_engine_of_another_job_gets_cores_that_are_free(claim):
    assert claim(0) == "[4]"
    assert claim(0) == "[5]"
    assert claim(0, 1) == "[6, 7]"


def test_cores_are_shared_where_none_are_free(claim):
    assert claim(0, 1, 2) == "[4, 5, 6]"
    assert claim(0, 1) == "[4, 5]"
    # Nothing was taken for what could not be had.
    assert claim(3) == "[7]"


def test_cores_of_an_engine_that_ended_are_free_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for _ in range(2):
        ended = subprocess.run(
            [sys.executable, "-c", CLAIM, "0"],
            input="",
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).resolve().parents[4],
        )
        assert ended.stdout.strip() == "[4]"


def test_an_engine_without_its_model_on_its_machine_says_what_must_be_shared(tmp_path):
    missing = tmp_path / "models" / "base"
    build = EngineBuild(TransformersEngineSpec(), str(missing), 4, 4, ("q_proj",), True, 0)
    with pytest.raises(EngineStartError, match=rf"no folder {missing}.*ESSA_HOME.*same path"):
        EngineActor(build, ()).start()


@pytest.mark.parametrize(("kind", "is_told"), [("Vllm", True), ("Transformers", False)])
def test_vllm_alone_is_told_the_cores_that_its_process_has(kind, is_told):
    code = (
        "import os\n"
        f"from essa.spec.engine import {kind}EngineSpec as Spec\n"
        "from workers.cluster.engine_actor import EngineActor\n"
        "from workers.engines.build import EngineBuild\n"
        "EngineActor(EngineBuild(Spec(), 'model', 4, 4, ('q_proj',), True, 0), (0,))\n"
        "[core] = os.sched_getaffinity(0)\n"
        "print(os.environ.get('VLLM_CPU_OMP_THREADS_BIND') == str(core))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "VLLM_CPU_OMP_THREADS_BIND"}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert ended.stdout.split()[-1] == str(is_told)
