from typing import Any

data: Any
