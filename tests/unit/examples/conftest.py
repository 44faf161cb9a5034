"""Scripts of examples, imported as they import each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def load(request: pytest.FixtureRequest) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script of the test file's FOLDER by its bare name.

    Examples have scripts of the same name, so none stays imported.
    """
    folder = request.module.FOLDER
    names = [script.stem for script in folder.glob("*.py")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        yield importlib.import_module
        for name in names:
            sys.modules.pop(name, None)
