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
        "Action",
        "Calibration",
        "Degraded",
        "Device",
        "DeviceError",
        "Finding",
        "FormError",
        "I2RError",
        "JpegTables",
        "Look",
        "Outcome",
        "Prior",
        "PriorError",
        "PriorFolder",
        "Restoration",
        "RestoreSettings",
        "Restorer",
        "STATISTICS",
        "SettingsError",
        "Trace",
        "Unsaid",
        "What",
        "built_in_priors",
        "convert_checkpoint",
        "find_prior",
        "load_prior",
        "self_test",
    ],
    "pipeline": [
        "Decoder",
        "ErrorCode",
        "ExitStatus",
        "Fetcher",
        "GPU_ADVICE",
        "ImageRestorer",
        "ItemError",
        "LeaseHeldError",
        "PATIENCE_TO_CONNECT",
        "Picture",
        "PipelineError",
        "PriorIdentity",
        "PriorRestorerFactory",
        "Progress",
        "PruneError",
        "RedoError",
        "RefusedError",
        "RestoreActor",
        "RestorerFactory",
        "RunError",
        "RunSettings",
        "RunSummary",
        "SettingsError",
        "from_float",
        "load_settings",
        "local_prior",
        "on_cpu",
        "open_source",
        "protected_pixels",
        "restore_dataset",
        "to_float",
    ],
}


@pytest.mark.parametrize("package", EXPORTS)
def test_exported_names(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == EXPORTS[package]
    for name in module.__all__:
        assert getattr(module, name) is not None


COMMAND = """
import atexit, sys
before = set(sys.modules)
atexit.register(lambda: print(*sorted(set(sys.modules) - before)))
from jobs.cli import main
main(sys.argv[1:])
"""
"""The command line, which tells on its last line what it has loaded."""


def run_command(*arguments: object) -> tuple[str, set[str]]:
    """What a command says, and the modules that it loads."""
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    *said, loaded = run.stdout.splitlines()
    return "\n".join(said), set(loaded.split())


COMMAND_LINE = {"click", "jobs"}
SETTINGS = {"annotated_types", "i2r", "pipeline", "pydantic", "pydantic_core", "typing_extensions", "yaml"}


@pytest.mark.parametrize(
    ("arguments", "packages", "most"),
    [
        (["--help"], COMMAND_LINE, 200),
        (["demo", "--help"], COMMAND_LINE, 200),
        (["restore", "--help"], COMMAND_LINE | SETTINGS | {"typing_inspection"}, 400),
    ],
)
def test_help_loads_nothing_but_the_command_line_and_the_settings_it_shows(
    arguments: list[str], packages: set[str], most: int
) -> None:
    said, loaded = run_command(*arguments)
    assert "--help" in said
    public = {name.partition(".")[0] for name in loaded if not name.startswith(("_", "cython_"))}
    assert public - sys.stdlib_module_names == packages
    assert len(loaded) < most


def test_a_run_with_nothing_to_do_loads_neither_ray_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    said, loaded = run_command("restore", tmp_path / "source", tmp_path / "dest")
    assert "run " in said
    assert list((tmp_path / "dest" / "_i2r" / "runs").glob("*.json"))
    assert not {"diffusers", "pandas", "ray", "torch"} & loaded


def test_help_answers_at_once() -> None:
    command = Path(sys.executable).with_name("i2r")
    seconds = []
    # The best of several: a busy machine is slow for a moment, a heavy import always is.
    for _ in range(5):
        start = time.perf_counter()
        run = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert "restore" in run.stdout
    assert min(seconds) < 0.5
