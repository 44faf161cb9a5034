"""The image's entry script: which program each role becomes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "entrypoint.sh"
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(tmp_path) -> Call:
    """Run the script where `essa` and `ray` print how they were called, and `python` is real."""
    for name in ("essa", "ray"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPT), *arguments]
        surroundings = {"PATH": path} | environment
        return subprocess.run(
            command, capture_output=True, text=True, env=surroundings, check=False
        )

    return run


def test_script_may_be_executed():
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        ((), "essa serve"),
        (("serve",), "essa serve"),
        (("serve", "--port", "9"), "essa serve --port 9"),
        (("essa", "doctor"), "essa doctor"),
    ],
)
def test_the_service_is_what_it_does_by_default(call, arguments, called):
    assert call(*arguments).stdout.strip() == called


def test_a_head_runs_no_engines_and_stays_in_the_foreground(call):
    words = call("ray-head", "--node-name=x").stdout.split()
    assert words[:3] == ["ray", "start", "--head"]
    assert {"--num-cpus=0", "--num-gpus=0", "--block", "--node-name=x"} <= set(words)


def test_a_worker_joins_the_cluster_it_is_told(call):
    words = call("ray-worker", "--num-gpus=0", ESSA_RAY_ADDRESS="head:6379").stdout.split()
    assert words == ["ray", "start", "--address=head:6379", "--block", "--num-gpus=0"]


def test_a_worker_without_an_address_says_what_is_missing(call):
    ended = call("ray-worker")
    assert ended.returncode != 0
    assert "ESSA_RAY_ADDRESS" in ended.stderr


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "127.0.0.1:6379"),
        ({"RAY_ADDRESS": "kuberay:6379"}, "kuberay:6379"),
        ({"ESSA_RAY_ADDRESS": "head:6379"}, "head:6379"),
    ],
)
def test_the_health_of_ray_is_that_of_its_head(call, environment, address):
    ended = call("healthy", "ray", **environment)
    assert ended.stdout.strip() == f"ray health-check --address {address}"


def test_an_unknown_kind_of_health_is_refused(call):
    ended = call("healthy", "database")
    assert ended.returncode == 2
    assert "'database'" in ended.stderr


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_health_of_the_service_is_what_it_answers(call, status, is_healthy):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        ended = call("healthy", "serve", ESSA_PORT=str(server.server_port))
    assert asked == ["/healthz"]
    assert (ended.returncode == 0) == is_healthy


def test_a_service_that_is_not_there_is_not_healthy(call):
    assert call("healthy", "serve", ESSA_PORT="9").returncode != 0
