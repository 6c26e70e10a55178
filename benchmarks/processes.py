"""The processes of a run and their memory, as Linux tells."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def family(root: int, without: Collection[int] = ()) -> set[int]:
    """A process and all that descend from it, without some and what descends from these."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    known = {root}
    while more := {pid for pid, parent in parents.items() if parent in known} - known - set(without):
        known |= more
    return known


def proportional_mib(pid: int) -> float:
    """A process's memory, with its share of what it shares; 0 of one that has ended."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") / 1024


def own_mib(pid: int) -> float:
    """A process's memory that is no file's and not shared, as an object store is; 0 of one that has ended."""
    return _kib(Path(f"/proc/{pid}/status"), "RssAnon:") / 1024


def _kib(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def role(pid: int) -> str:
    """What a process is: Ray's name of an actor or a task, otherwise its program; empty if it has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    if words[0].startswith("ray::"):
        return words[0].split()[0].removeprefix("ray::")
    if any("pipeline.codecs.child" in word for word in words):
        return "decoder"
    programs = [Path(word).stem for word in words if word.endswith(".py")]
    return programs[0] if programs else Path(words[0]).name
