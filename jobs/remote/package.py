"""Files that a job takes to a cluster: this code, installed or from the working tree, and a local prior."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from i2r import built_in_priors
from pipeline.errors import SettingsError

PACKAGES = ("i2r", "pipeline", "jobs")
MOST_BYTES = 450 << 20
"""Most bytes of all files together: Ray accepts half a gigabyte at most."""

_STAYS = shutil.ignore_patterns("__pycache__", ".*", "samples")


def stage(folder: Path, prior: str) -> str:
    """Copy the packages, and the prior if it is a folder here, into an empty folder.

    The result depends on their content alone, so that Ray uploads it once.

    Returns:
        the setting `prior` for a process that has this folder as its working directory.

    Raises:
        SettingsError: the files are more than Ray accepts.
    """
    for package in PACKAGES:
        shutil.copytree(_home(package), folder / package, ignore=_STAYS)
    local = Path(prior.removeprefix("file://"))
    if prior not in built_in_priors() and local.is_dir():
        prior = f"priors/{local.resolve().name}"
        shutil.copytree(local, folder / prior, ignore=_STAYS)
    if (size := sum(path.stat().st_size for path in _files(folder))) > MOST_BYTES:
        raise SettingsError(
            f"the code and the prior are {size >> 20} MiB and Ray takes {MOST_BYTES >> 20}: "
            "put the prior into a bucket, and give its address there"
        )
    return prior


def _home(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SettingsError(f"the package {package} is not a folder of files: install it with pip")
    return Path(spec.origin).parent


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
