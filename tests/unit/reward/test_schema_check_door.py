"""The list of reward modules that `essa` must not import is complete."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
OPEN = {"reward.spec", "reward.formula", "reward.schema_check"}
"""The specification, and what it checks formulas and schemas with."""


def test_every_reward_module_but_the_spec_is_forbidden_to_the_core() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [one for one in settings["contracts"] if one.get("source_modules") == ["essa"]]
    modules = {
        f"reward.{path.stem}"
        for path in (ROOT / "reward").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and path.stem != "__init__"
    }
    assert set(contract["forbidden_modules"]) == modules - OPEN
