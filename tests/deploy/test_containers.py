"""Image and Compose file agree with the code; neither can be built or started here."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from alignment_api.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PORT = Settings.model_fields["port"].default
SERVICES = ("essa", "essa-gpu")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in pairs]


def environment(steps: list[tuple[str, str]]) -> dict[str, str]:
    words = " ".join(rest for word, rest in steps if word == "ENV").split()
    return dict(word.split("=", 1) for word in words)


def seconds(text: str) -> float:
    return float(re.fullmatch(r"(\d+)s", text)[1])


@pytest.mark.parametrize("name", SERVICES)
def test_port_is_published_to_this_machine_only(compose, name) -> None:
    assert compose["services"][name]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


@pytest.mark.parametrize("name", SERVICES)
def test_health_check_asks_the_service_where_it_listens(compose, name) -> None:
    command = " ".join(compose["services"][name]["healthcheck"]["test"])
    assert f"http://127.0.0.1:{PORT}/healthz" in command


@pytest.mark.parametrize("name", SERVICES)
def test_home_is_a_declared_volume(compose, steps, name) -> None:
    volume, target = compose["services"][name]["volumes"][0].split(":")
    assert volume in compose["volumes"]
    assert target == environment(steps)["ESSA_HOME"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_stopped_container_waits_for_the_running_job(compose, name) -> None:
    grace_s = seconds(compose["services"][name]["stop_grace_period"])
    assert grace_s > Settings.model_fields["shutdown_grace_s"].default


@pytest.mark.parametrize(("name", "profile"), [("essa", "cpu"), ("essa-gpu", "gpu")])
def test_build_names_the_dockerfile_and_a_profile_it_knows(compose, steps, name, profile) -> None:
    service = compose["services"][name]
    assert service["image"].endswith(f":{profile}")
    build = service["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE
    assert build["args"] == {"PROFILE": profile}
    assert ("ARG", "PROFILE=cpu") in steps
    install = next(rest for word, rest in steps if word == "RUN" and "$PROFILE" in rest)
    assert re.search(rf"\b{profile}\) make install", install)


def test_only_the_gpu_service_needs_a_profile_and_devices(compose) -> None:
    cpu, gpu = (compose["services"][name] for name in SERVICES)
    assert "profiles" not in cpu
    assert "deploy" not in cpu
    assert gpu["profiles"] == ["gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_image_sets_only_settings_that_exist(steps) -> None:
    names = [name for name in environment(steps) if name.startswith(PREFIX)]
    assert names
    fields = [name.removeprefix(PREFIX).lower() for name in names]
    assert set(fields) <= Settings.model_fields.keys()


def test_image_listens_beyond_the_container_on_the_default_port(steps) -> None:
    settings = Settings.from_environment(environment(steps))
    assert (settings.host, settings.port) == ("0.0.0.0", PORT)
    assert ("EXPOSE", str(PORT)) in steps


def test_image_does_not_run_as_root(steps) -> None:
    order = [word for word, _ in steps]
    users = [rest for word, rest in steps if word == "USER"]
    assert users[-1:] == ["essa"]
    assert order.index("USER") < order.index("CMD")


def test_image_has_the_python_that_the_project_asks_for(steps) -> None:
    base = dict(steps[:1])["FROM"]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert base.startswith("python:3.11-slim")
    assert wanted == ">=3.11,<3.12"


def test_everything_the_image_copies_is_in_its_context(steps) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    sources = [name for word, rest in steps if word == "COPY" for name in rest.split()[:-1]]
    needed = {*sources, "alignment_api", "workers", "essa", "reward", "examples"} - {"."}
    for name in needed:
        assert (ROOT / name).exists(), f"the Dockerfile copies {name}, which is not there"
        top = name.split("/")[0]
        assert not any(fnmatch.fnmatch(top, pattern) for pattern in ignored)
    for name in (".git", ".venv", "build"):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in ignored)
