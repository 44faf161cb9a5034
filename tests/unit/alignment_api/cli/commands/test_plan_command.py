"""`essa plan`: tables, JSON, a run's timeline, and errors that name flag and value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignment_api.cli.main import main
from essa.plan.engine_speed import EngineSpeed
from essa.plan.simulation import Fleet, simulate
from essa.records.timeline import Work, append_work
from essa.types import WorkSpan

SMALL = ("--model", "smollm2-135m", "--device", "cpu-core", "--gpus", "2", "--population", "16",
         "--batch-size", "24", "--max-tokens", "32", "--prompt-tokens", "40")  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(*options: str) -> tuple[int, str, str]:
        code = main(["plan", "--home", str(tmp_path / "home"), *options])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_both_methods_and_all_sizes_are_shown(plan) -> None:
    code, out, _ = plan("--generations", "1", *SMALL)
    assert code == 0
    for text in ("ESSA, bf16", "GRPO over LoRA", "memory of a GPU", "GPUs needed", "efficiency",
                 "0.135B parameters", "d = 1,920", "1,024"):  # fmt: skip
        assert text in out


def test_json_holds_what_the_tables_hold(plan) -> None:
    found = json.loads(plan("--json", "--paper", "--generations", "1")[1])
    assert [point["engines"] for point in found["scaling"]] == [2**power for power in range(11)]
    assert found["scaling"][0]["efficiency"] == 1.0
    assert found["dimension"] == 64 * 4 * 2 * 16
    assert found["essa"]["exchange_bytes"] == pytest.approx(8 * 15 / 16)
    assert found["essa"]["memory_bytes_per_gpu"] < 80 * 2**30
    assert found["paper"]["essa"]["speedup"] == 10
    assert found["paper"]["grpo"]["fixed_frac"] == pytest.approx(0.2857, abs=1e-4)
    assert found["paper"]["predicted_speedup"]["essa"] == pytest.approx(8, rel=1e-6)


def test_the_papers_figures_are_called_what_they_are(plan) -> None:
    out = " ".join(plan("--paper", "--generations", "1")[1].split())
    assert "super-linear and cannot come from the latency model" in out
    assert "29% of its time on 16 GPUs does not shrink" in out


def test_the_model_can_be_a_folder(plan, tmp_path: Path) -> None:
    config = {
        "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
        "num_attention_heads": 4, "vocab_size": 100,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    for model in (path, tmp_path):
        found = json.loads(plan("--json", "--generations", "1", "--model", str(model))[1])
        assert found["parameters"] == 2 * (4 * 64**2 + 3 * 64 * 128) + 2 * 6400 + 5 * 64


def test_speed_is_taken_from_a_run(plan, tmp_path: Path) -> None:
    speed = EngineSpeed(step_s=0.05, sequence_s=0.002, prompt_s=0.0)
    one = simulate(Fleet(speed, 192), 1, population=1, batch=24, lengths=[20]).seconds[0]
    for generation in range(1, 4):
        # One candidate a generation: nothing overlaps, so the span is the item's time.
        append_work(tmp_path, Work("train", generation, (WorkSpan(0, 1.0, 1.0 + one, (0,), 480),)))
    found = json.loads(plan("--json", "--timeline", str(tmp_path), *SMALL)[1])
    assert found["measured"]["engine_works"] == 3
    assert found["measured"]["residual"] < 1e-3
    small = json.loads(plan("--json", "--timeline", str(tmp_path), *SMALL, "--population", "1")[1])
    assert small["scaling"][0]["generation_s"] == pytest.approx(one, rel=0.02)


def test_a_runs_own_specification_says_what_its_engines_did(plan, tmp_path: Path) -> None:
    # Two pieces of a candidate; by the flags it would have 24 prompts, by the run it has 60.
    spans = tuple(WorkSpan(0, 1.0, 4.0, (0,), 300) for _ in range(2))
    append_work(tmp_path, Work("train", 1, spans))
    spec = {
        "batch_size": 60, "rollout": {"samples_per_prompt": 1, "max_tokens": 10},
        "engine": {"max_num_seqs": 30},
    }  # fmt: skip
    record = tmp_path / "provenance.json"
    record.write_text(json.dumps({"spec": spec, "sizes": {"validation": 7}}))
    found = json.loads(plan("--json", "--timeline", str(tmp_path), *SMALL)[1])
    assert found["essa"]["sequences"] == 30
    # 60 answers of 10 tokens in 3 seconds, 30 of them at a time.
    rate = found["essa"]["engine"]
    assert 20 * rate["step_s"] + 600 * rate["sequence_s"] + 60 * rate["prompt_s"] == (
        pytest.approx(3.0)
    )
    record.write_text("{}")
    code, _, err = plan("--timeline", str(tmp_path), *SMALL)
    assert code == 2
    assert "provenance.json cannot be read: KeyError('spec')" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--population", "0"), "--population is 0; expected a number of 1 at least"),
        (("--bandwidth", "-1"), "--bandwidth is -1.0; expected a number above 0"),
        (("--length-spread", "nan"), "--length-spread is nan; expected 0 or more"),
        (("--stragglers", "2"), "--stragglers is 2.0; it is a share, at most 1"),
        (("--answer-tokens", "2000"), "--answer-tokens is 2000, above --max-tokens 1024"),
        (("--model", "no-such-model"), "--model is no-such-model; it is no folder"),
        (("--modules", "q_proj,lm_head"), "--modules has lm_head"),
        (("--gpus", "1"), "--gpus is 1, but one engine needs 2 of 80 GiB"),
        (("--gpu-memory-gib", "2"), "--gpus is 16, but one engine needs 64 of 2 GiB"),
        (("--timeline", "nowhere"), "--timeline is nowhere, where there is no timeline.jsonl"),
    ],
)  # fmt: skip
def test_bad_input_names_flag_and_value(plan, options, message: str) -> None:
    code, out, err = plan(*options)
    assert (code, out) == (2, "")
    assert message in err


def test_a_precision_that_is_not_offered_is_refused(plan) -> None:
    code, out, err = plan("--precision", "fp4")
    assert (code, out) == (2, "")
    assert 'Invalid value "fp4" for --precision' in err
