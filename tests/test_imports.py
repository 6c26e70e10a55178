"""What each package offers on purpose, and what the command line must not load to answer."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXPORTS = {
    "i2r": [
        "FormError",
        "I2RError",
        "JpegTables",
        "Outcome",
        "Prior",
        "PriorError",
        "Restoration",
        "RestoreSettings",
        "Restorer",
        "SettingsError",
        "built_in_priors",
        "load_prior",
    ],
    "pipeline": [
        "ErrorCode",
        "ExitStatus",
        "ImageRestorer",
        "ItemError",
        "LeaseHeldError",
        "PipelineError",
        "PriorIdentity",
        "PriorRestorerFactory",
        "Progress",
        "RestoreActor",
        "RestorerFactory",
        "RunError",
        "RunSettings",
        "RunSummary",
        "SettingsError",
        "load_settings",
        "restore_dataset",
    ],
}

HEAVY = ["diffusers", "pandas", "pyarrow", "ray", "torch"]


@pytest.mark.parametrize("package", EXPORTS)
def test_exported_names(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == EXPORTS[package]
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_command_line_answers_without_heavy_imports() -> None:
    code = "import sys, jobs.cli; print(*sorted(set(sys.modules) & set(sys.argv[1:])))"
    run = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_help_answers_at_once() -> None:
    command = Path(sys.executable).with_name("i2r")
    seconds = []
    # The best of several: a busy machine is slow for a moment, a heavy import always is.
    for _ in range(5):
        start = time.perf_counter()
        run = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert "restore" in run.stdout
    assert min(seconds) < 1
