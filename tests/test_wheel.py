"""What is installed is what is in the repository: the wheel carries the data that the packages need."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_BYTES = 40 << 20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, stdin=subprocess.DEVNULL)
    (path,) = folder.iterdir()
    assert path.stat().st_size < MAX_BYTES
    return zipfile.ZipFile(path)


@pytest.mark.parametrize(
    "files", ["jobs/samples/**/*", "i2r/priors/**/*", "jobs/prices.yaml", "jobs/views/report/page/*"]
)
def test_carries_the_data(wheel: zipfile.ZipFile, files: str) -> None:
    stored = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(files) if path.is_file()}
    assert stored
    assert stored <= set(wheel.namelist())


def test_carries_nothing_but_the_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"i2r", "jobs", "pipeline"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
