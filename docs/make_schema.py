"""Write the JSON Schema of a job file: `python docs/make_schema.py`."""

from __future__ import annotations

import json
from pathlib import Path

from essa.spec import AlignmentJobSpec

TARGET = Path(__file__).with_name("job.schema.json")


def schema_text() -> str:
    """The schema as it stands in the file."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **AlignmentJobSpec.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(schema_text(), encoding="utf-8")
