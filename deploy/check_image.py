"""Carry out deploy/Dockerfile in folders, where there is no container engine, and try the result.

Stages become folders, copied from a Debian root that stands for the base image:

    debootstrap --variant=minbase bookworm ROOT \
        --include=ca-certificates,python3-distutils,python3.11-venv,python3.11-dev
    python3.11 deploy/check_image.py --root ROOT --stages FOLDER

Needs root, chroot and unshare, and 20 GB for the CPU profile. `--share` shows build steps a file or
folder of this machine, such as pip's configuration or certificates.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
PASSED_ON = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy")
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TRIAL = """
set -eu
export ESSA_HOME=/tmp/trial/home RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef
mkdir -p $ESSA_HOME
id -un
essa-container ray-head > /tmp/trial/head.log 2>&1 &
for try in $(seq 60); do essa-container healthy ray > /dev/null 2>&1 && break; sleep 2; done
essa-container healthy ray && echo the head is healthy
export ESSA_RAY_ADDRESS=127.0.0.1:6379
essa-container ray-worker --num-cpus=1 > /tmp/trial/worker.log 2>&1 &
essa-container serve > /tmp/trial/serve.log 2>&1 &
for try in $(seq 60); do essa-container healthy serve > /dev/null 2>&1 && break; sleep 2; done
essa-container healthy serve && echo the service is healthy
grep -q essa- /tmp/trial/serve.log && echo it printed its first key
for try in $(seq 60); do grep -q 'runtime started' /tmp/trial/worker.log && break; sleep 2; done
grep -q 'runtime started' /tmp/trial/worker.log && echo a worker has joined
bash -lc 'ray --version' # as KubeRay calls it
essa-container essa validate /usr/share/essa/examples/upbeat/job.yaml
"""


class Step(NamedTuple):
    """One instruction."""

    word: str
    rest: str


@dataclass
class Stage:
    """A folder with what is set for the steps in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BASE_PATH})
    place: str = "/"
    user: str = "0:0"


def read_steps(dockerfile: Path) -> list[Step]:
    """The instructions, without comments and with continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [Step(word, rest.strip()) for word, _, rest in pairs]


class Builder:
    """Carries out instructions, stage after stage.

    Args:
        root: the Debian root for images that are not stages.
        stages: folder of the stages' folders.
        shared: files and folders that build steps see.
        arguments: values of ARG.
    """

    def __init__(
        self, root: Path, stages: Path, shared: list[Path], arguments: dict[str, str]
    ) -> None:
        self._root = root
        self._folder = stages
        self._shared = shared
        self._arguments = arguments
        self._stages: dict[str, Stage] = {}

    def build(self, steps: list[Step]) -> Stage:
        """Carry out all steps; returns the last stage."""
        wanted = self._needed(steps)
        name = ""
        for step in steps:
            if step.word == "FROM":
                source, _, name = self._filled(step.rest).split()
                if name in wanted:
                    print(f"=== {name}, from {source}", flush=True)
                    self._stages[name] = self._start(source, name)
            elif name in wanted:
                self._carry_out(self._stages[name], step)
        return self._stages[name]

    def _needed(self, steps: list[Step]) -> set[str]:
        """Stages that the last one is made of."""
        sources: dict[str, set[str]] = {}
        for step in steps:
            if step.word == "FROM":
                source, _, name = self._filled(step.rest).split()
                sources[name] = {source}
            elif step.word == "COPY" and step.rest.startswith("--from="):
                sources[name].add(step.rest.split()[0].removeprefix("--from="))
        needed, waiting = set(), [name]
        while waiting:
            one = waiting.pop()
            if one in sources and one not in needed:
                needed.add(one)
                waiting += sources[one]
        return needed

    def _filled(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self._arguments[found[1]], text)

    def _start(self, source: str, name: str) -> Stage:
        stage = Stage(self._folder / name)
        found = self._stages.get(source)
        if found is not None:
            stage.environment, stage.place = dict(found.environment), found.place
        folder = found.folder if found is not None else self._root
        subprocess.run(["cp", "-a", "--reflink=auto", folder, stage.folder], check=True)
        return stage

    def _carry_out(self, stage: Stage, step: Step) -> None:
        print(f"--- {step.word} {step.rest}", flush=True)
        if step.word == "RUN":
            enter(stage, ["/bin/sh", "-c", step.rest], self._shared)
        elif step.word == "COPY":
            self._copy(stage, step.rest.split())
        elif step.word == "ENV":
            for pair in shlex.split(step.rest):
                key, _, value = pair.partition("=")
                stage.environment[key] = value.replace("$PATH", stage.environment["PATH"])
        elif step.word == "WORKDIR":
            stage.place = step.rest
            (stage.folder / step.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif step.word == "USER":
            stage.user = step.rest
        elif step.word not in ("EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
            raise SystemExit(f"{step.word} is not known here")

    def _copy(self, stage: Stage, words: list[str]) -> None:
        flags = dict(word[2:].split("=") for word in words if word.startswith("--"))
        *sources, target = (word for word in words if not word.startswith("--"))
        origin = self._stages[flags["from"]].folder if "from" in flags else REPOSITORY
        into = stage.folder / os.path.join(stage.place, target).lstrip("/")
        for source in sources:
            path = origin / source.lstrip("/")
            to = into if len(sources) == 1 and not target.endswith("/") else into / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(path, to)
            if "chmod" in flags:
                to.chmod(int(flags["chmod"], 8))


def enter(stage: Stage, command: list[str], shared: list[Path], *, is_alone: bool = False) -> None:
    """Run a command in a stage's folder as its user.

    Args:
        is_alone: without the network, as a pod of its own.
    """
    root = shlex.quote(str(stage.folder))
    lines = ["set -eu", f"mount -t proc proc {root}/proc"]
    lines += [f"mount --rbind /{name} {root}/{name}" for name in ("dev", "sys")]
    for path in shared:
        inside = stage.folder / str(path).lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            inside.mkdir(exist_ok=True)
        else:
            inside.touch()
        lines.append(f"mount --bind {shlex.quote(str(path))} {shlex.quote(str(inside))}")
    if is_alone:
        lines.append("ip link set lo up")
    passed = {} if is_alone else {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
    pairs = [f"{key}={value}" for key, value in (passed | stage.environment).items()]
    inner = f"cd {shlex.quote(stage.place)} && exec {shlex.join(command)}"
    program = shutil.which("chroot") or "chroot"  # env looks in the stage's PATH
    chroot = [program, f"--userspec={stage.user}", str(stage.folder), "/bin/sh", "-c", inner]
    lines.append(f"exec env -i {shlex.join(pairs)} {shlex.join(chroot)}")
    spaces = ["--mount", "--pid", "--fork", "--kill-child", *(["--net"] if is_alone else [])]
    subprocess.run(["unshare", *spaces, "/bin/sh", "-c", "\n".join(lines)], check=True)


def main() -> None:
    """Build and try one profile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="Debian root with Python 3.11")
    parser.add_argument("--stages", type=Path, required=True, help="new folder for the stages")
    parser.add_argument("--profile", default="cpu", help="cpu (default) or gpu")
    parser.add_argument("--share", type=Path, action="append", default=[], metavar="PATH")
    arguments = parser.parse_args()
    arguments.stages.mkdir(parents=True)
    steps = read_steps(Path(__file__).with_name("Dockerfile"))
    builder = Builder(
        arguments.root.resolve(),
        arguments.stages.resolve(),
        arguments.share,
        {"PROFILE": arguments.profile},
    )
    stage = builder.build([step for step in steps if step.word != "ARG"])
    check = next(step.rest for step in steps if step.word == "HEALTHCHECK")
    role = json.loads(check.partition("CMD")[2])[-1]
    print(f"=== trial; the image's health check asks `{role}`", flush=True)
    os.umask(0)
    (stage.folder / "tmp" / "trial").mkdir()
    stage.environment |= {"HOME": "/home/essa"}
    enter(stage, ["/bin/sh", "-c", TRIAL], [], is_alone=True)
    print("=== all of it worked")


if __name__ == "__main__":
    sys.exit(main())
