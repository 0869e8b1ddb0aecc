"""A table that others have published, to stand beside ours: a CSV with a column ``method`` and columns of numbers.

Proof: ``tests/study/test_retuning.py``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from fsg.errors import ConfigError
from fsg.files import user_path


def read_published(path: str | Path) -> tuple[dict[str, str], ...]:
    """Its rows, column -> cell as written ("" where empty). ConfigError for a file that is no such table."""
    path = user_path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            if "method" not in names or len(set(names)) < len(names):
                found = ", ".join(names) or "nothing"
                raise ConfigError(
                    f'{path}:1: expected a header with a column "method", each column once; found {found}.'
                )
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise ConfigError(f"{path}:{reader.line_num}: expected {len(names)} cells, as in the header.")
                rows.append(dict(row))
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: cannot be read as a CSV table ({error}).") from None
    if not rows:
        raise ConfigError(f"{path}:1: the table has a header, but no row.")
    return tuple(rows)
