"""What was measured so far: one line of JSON a cell, so that a run that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

Key = tuple[str, str, str]
"""Row, photograph, column."""


def digest(**what: Any) -> str:
    """Of all that a column's results depend on: another makes its cells unknown again."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


class Cells:
    """Cells of a benchmark in a file.

    Args:
        path: made where there is none, with its folder. A last line that was cut short is dropped.
        depends: the digest by column; cells of another digest, and of other columns, are kept and not seen.
    """

    def __init__(self, path: Path, depends: Mapping[str, str]) -> None:
        self.path, self.depends = path, depends
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        self._lines = [json.loads(line) for line in whole.splitlines()]
        self._known = {self._key(line): line for line in self._lines if self._is_current(line)}

    def forget(self, rows: Collection[str], photographs: Collection[str], columns: Collection[str]) -> None:
        """Drop the current cells of these rows, photographs and columns."""
        gone = {key for key in self._known if key[0] in rows and key[1] in photographs and key[2] in columns}
        self._known = {key: line for key, line in self._known.items() if key not in gone}
        self._lines = [x for x in self._lines if not (self._is_current(x) and self._key(x) in gone)]
        self.path.write_text("".join(map(_as_line, self._lines)))

    def add(self, key: Key, scores: Mapping[str, Any]) -> None:
        """Write a cell down at once."""
        row, photograph, column = key
        line = {"row": row, "photograph": photograph, "column": column, "of": self.depends[column], **scores}
        with self.path.open("a") as file:
            file.write(_as_line(line))
        self._lines.append(line)
        self._known[key] = line

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def get(self, key: Key) -> Mapping[str, Any] | None:
        return self._known.get(key)

    def _is_current(self, line: Mapping[str, Any]) -> bool:
        return self.depends.get(line["column"]) == line["of"]

    @staticmethod
    def _key(line: Mapping[str, Any]) -> Key:
        return line["row"], line["photograph"], line["column"]


def _as_line(cell: Mapping[str, Any]) -> str:
    short = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in cell.items()}
    return json.dumps(short, allow_nan=False) + "\n"
