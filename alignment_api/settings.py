"""Where and how the service runs: built once, then passed in, never a module global."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from alignment_api.processes.user_environment import has_home, unknown_home
from essa.errors import MachineError, SpecError
from reward.resources import RewardPolicy

PREFIX = "ESSA_"
SECRET_PREFIX = "ESSA_REWARD_SECRET_"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _usual_home() -> Path:
    if not has_home():
        raise MachineError(
            f"there is no folder for models and runs: {unknown_home()}; set ESSA_HOME, or give "
            "--home, a folder that can be written"
        )
    return Path.home() / ".essa"


def sqlite_url(path: Path) -> str:
    """Return the database URL of a SQLite file, whatever characters its path has."""
    return f"sqlite:///{quote(str(path))}"


class Settings(BaseModel):
    """Settings of the API process and of the job processes it starts.

    Every field can be set by an environment variable: `port` by `ESSA_PORT`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    home: Path = Field(default_factory=_usual_home)
    """Folder of the store, uploaded files, runs and the model cache."""
    database_url: str | None = Field(default=None, repr=False)
    """Database URL, `postgresql://USER:PASSWORD@HOST/DATABASE`; None uses SQLite in `home`."""
    host: str = "127.0.0.1"
    port: int = Field(default=8400, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    job_command: tuple[str, ...] | None = None
    """Command that runs one job; None means `python -m alignment_api.execution.job_process`. The
    environment variable is split like a shell command line."""
    engine_slots: int | None = Field(default=None, ge=1)
    """Number of engines that all jobs together may run at once; None means one per GPU, or one per
    CPU core without GPUs. A job holds a slot per engine, and with it that share of the machine."""
    ray_address: str | None = None
    """Ray cluster for the jobs, `HOST:6379`; None starts one on this machine for each job. With a
    cluster, a slot is one of its GPUs, or an engine on its CPUs; `engine_slots` sets how many."""
    auth: Literal["on", "off"] = "on"
    """Whether requests need an API key. `off` is for a single user: it is refused unless `host` is
    a loopback address."""
    requests_per_minute: int = Field(default=1200, ge=1)
    """Sustained rate: requests per minute that one key may send."""
    request_burst: int = Field(default=300, ge=1)
    """Burst: requests that one key may send at once after a pause."""
    max_upload_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Maximum size of an uploaded file, measured as its request's body."""
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    """Maximum body size of every other request."""
    cancel_grace_s: float = Field(default=30.0, ge=0)
    """Seconds after which a cancelled job that is still running is killed."""
    shutdown_grace_s: float = Field(default=15.0, ge=0)
    """Seconds that a running job gets to stop its workers when the service stops."""
    retry_window_s: float = Field(default=600.0, ge=0)
    """Seconds within which a repeated job creation returns the job of the first request, because
    clients repeat a request that got no answer."""
    poll_s: float = Field(default=0.3, gt=0)
    """Seconds between two reads of the store."""
    heartbeat_s: float = Field(default=15.0, gt=0)
    """Maximum seconds of silence on an event stream."""

    log_format: Literal["json", "text"] | None = None
    """Format of the log; None means text on a terminal and JSON, one object per line, elsewhere."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged; case does not matter."""
    metrics: Literal["on", "off", "key"] = "on"
    """Who may read `/metrics`: everybody, nobody, or keys with the scope `read`. The numbers cover
    all projects."""

    inference: Literal["on", "off"] = "on"
    """Whether `/v1/chat/completions` and `/v1/completions` are served; see docs/INFERENCE.md."""
    inference_command: tuple[str, ...] | None = None
    """Command that serves a model, called with the arguments of vLLM's server; None means the
    installed vLLM. Split like `job_command`."""
    inference_args: tuple[str, ...] = ()
    """Extra arguments for that command, such as `--gpu-memory-utilization 0.3`. Split likewise."""
    inference_servers: int = Field(default=1, ge=1)
    """Maximum number of bases in memory; loading another one stops the least recently used."""
    inference_idle_s: float = Field(default=600.0, gt=0)
    """Seconds without a request after which a model server is stopped."""
    inference_start_s: float = Field(default=300.0, gt=0)
    """Maximum seconds that a request waits for its model to load."""
    inference_requests: int = Field(default=16, ge=1)
    """Maximum number of concurrent requests to models; further ones are refused."""
    inference_max_tokens: int = Field(default=1024, ge=1)
    """Maximum number of tokens in one answer."""
    inference_max_model_len: int = Field(default=2048, ge=16)
    """Maximum number of tokens in prompt and answer together; a model's own limit may be lower."""
    inference_cores: int | None = Field(default=None, ge=1)
    """Threads of a model server on CPU; None means half the cores."""
    inference_kv_cache_gib: float = Field(default=1.0, gt=0)
    """Size of a CPU model server's KV cache."""

    reward_python: bool = False
    """Whether jobs may send rewards of type `python`, whose code runs on this machine."""
    reward_model_code: bool = False
    """Whether `reward_model` rewards may run the Python code that comes with their model."""
    reward_hosts: tuple[str, ...] = ()
    """Hosts that `judge` and `remote` rewards may call: `scores.example.org`, `localhost:9000`,
    `*.example.org`. The environment variable separates them by commas."""
    reward_private_hosts: bool = False
    """Whether those hosts may resolve to private and loopback addresses."""
    grader_url: str | None = None
    """OpenAI-compatible endpoint, such as `https://api.example.org/v1`, for OpenAI's `score_model`
    graders; its host must be one of `reward_hosts`. None refuses such graders."""
    grader_api_key: str | None = None
    """Name of the secret that is sent to `grader_url`."""
    reward_secrets: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Secrets that rewards use by name: `ESSA_REWARD_SECRET_OPENAI` is the secret `openai`."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        try:
            return home.expanduser().absolute()
        except RuntimeError as error:  # begins with ~
            raise ValueError(f"{unknown_home()}; write the whole path") from error

    @field_validator("ray_address")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        host, _, port = (address or "host:0").rpartition(":")
        if not host or "/" in host or not port.isdigit():
            raise ValueError("give HOST:PORT, the address that `ray start --head` prints")
        return address

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    @field_validator("job_command", "inference_command", "inference_args", mode="before")
    @classmethod
    def _split(cls, command: Any) -> Any:
        return shlex.split(command) if isinstance(command, str) else command

    @field_validator("reward_hosts", mode="before")
    @classmethod
    def _listed(cls, hosts: Any) -> Any:
        if isinstance(hosts, str):
            return tuple(host.strip() for host in hosts.split(",") if host.strip())
        return hosts

    @model_validator(mode="after")
    def _open_to_nobody_else(self) -> Settings:
        if self.auth == "off" and self.host not in _LOOPBACK:
            raise ValueError(
                f"ESSA_AUTH is off but ESSA_HOST is {self.host}: anybody who reaches it could run "
                f"jobs. Set ESSA_AUTH=on, or ESSA_HOST to one of {', '.join(_LOOPBACK)}"
            )
        return self

    @property
    def reward_policy(self) -> RewardPolicy:
        """The operator's permissions for rewards."""
        return RewardPolicy(
            allow_python=self.reward_python,
            allow_model_code=self.reward_model_code,
            allowed_hosts=self.reward_hosts,
            allow_private_hosts=self.reward_private_hosts,
            secrets=self.reward_secrets,
        )

    @property
    def store_url(self) -> str:
        """Database URL of the store."""
        return self.database_url or sqlite_url(self.sqlite_path)

    @property
    def jobs_url(self) -> str:
        """Database URL of the store that holds the jobs and their events."""
        return self.store_url

    @property
    def sqlite_path(self) -> Path:
        """Path of the SQLite file, used if `database_url` is None."""
        return self.home / "store.sqlite3"

    @property
    def cache_dir(self) -> Path:
        """Folder of prepared models, shared by all jobs."""
        return self.home / "cache"

    @property
    def files_dir(self) -> Path:
        """Folder of uploaded data files."""
        return self.home / "files"

    @property
    def inference_dir(self) -> Path:
        """Folder of model servers' logs."""
        return self.home / "inference"

    @property
    def forwarding_wait_s(self) -> float:
        """Seconds that integrations get after a job ends; less than a stopping service waits."""
        return 10.0

    @property
    def job_arguments(self) -> list[str]:
        """Command-line arguments for a job's process; other settings are in its environment."""
        return ["--home", str(self.home)]

    def shown_id(self, job_id: str) -> str:
        """Return a job's id for places that show the jobs of many homes."""
        return job_id

    def job_dir(self, job_id: str) -> Path:
        """Return the folder of one job: its log, its lock and, under `run`, the run's own files."""
        return self.home / "jobs" / job_id

    def run_dir(self, job_id: str) -> Path:
        """Return the folder of a job's run: checkpoint, records, adapter."""
        return self.job_dir(job_id) / "run"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **given: Any) -> Settings:
        """Read `ESSA_*` variables; keyword arguments that are not None win over them.

        Raises:
            SpecError: a value is unusable; the message names the variable.
            MachineError: no home is given, and the user has no home folder to put one in.
        """
        values: dict[str, Any] = {
            name: environment[PREFIX + name.upper()]
            for name in cls.model_fields
            if environment.get(PREFIX + name.upper())
        }
        secrets = {
            name.removeprefix(SECRET_PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(SECRET_PREFIX)
        }
        if secrets:
            values["reward_secrets"] = secrets
        values |= {name: value for name, value in given.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [_fault(part) for part in error.errors()]
            raise SpecError("; ".join(lines)) from error


def _fault(part: Any) -> str:
    if not part["loc"]:  # an error about several settings together
        return part["msg"].removeprefix("Value error, ")
    return f"{PREFIX}{str(part['loc'][0]).upper()} is {part['input']!r}: {part['msg']}"
