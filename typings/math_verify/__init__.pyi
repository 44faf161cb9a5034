from collections.abc import Sequence
from typing import Any

class LatexExtractionConfig:
    def __init__(self, *, boxed_match_priority: int = 50) -> None: ...

class ExprExtractionConfig: ...

def parse(
    pred: str,
    extraction_config: Sequence[LatexExtractionConfig | ExprExtractionConfig],
    *,
    parsing_timeout: int | None = 5,
    raise_on_error: bool = False,
) -> list[Any]: ...
def verify(
    gold: Any, target: Any, *, timeout_seconds: int | None = 5, raise_on_error: bool = False
) -> bool: ...
