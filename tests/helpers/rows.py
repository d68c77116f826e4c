"""JSON lines files of tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_rows(path: Path, *rows: Mapping[str, Any]) -> Path:
    """Write rows as JSON lines, and create the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
