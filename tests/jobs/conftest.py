"""What the tests of jobs share: a prior in a folder of its own, and the options of a cheap run with it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from i2r.prior.folder import BUILT_IN

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def own_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior in a local folder, as somebody has who has trained one."""
    folder = tmp_path_factory.mktemp("priors") / "own"
    return Path(shutil.copytree(BUILT_IN / "photo-64", folder))


@pytest.fixture(scope="session")
def flags(own_prior: Path) -> list[str]:
    """Options for a run with that prior, one model at a time, that takes a third of a second for an image."""
    return [f"--prior={own_prior}", "--set=method.tile=32", "--set=method.overlap=8", "--workers=1"]
