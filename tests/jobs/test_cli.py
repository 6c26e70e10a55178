"""The command line: what it says, what it ends with, and that a wrong argument costs a second and writes
nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from jobs.cli import main
from jobs.views import progress
from pipeline.records.manifest import folder_of, to_parquet, to_table
from pipeline.records.summary import ExitStatus, record_key
from pipeline.storage.store import open_store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    Image.new("RGB", (16, 16), "gray").save(tmp_path / "source" / "a.png")
    return tmp_path / "source"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nowhere", "{tmp}/dest"], "SOURCE file://{tmp}/nowhere does not exist"),
        (["{tmp}/source", "{tmp}/source/dest"], "overlap"),
        (["{tmp}/source", "{tmp}/file/dest"], "is a file"),
        (["{tmp}/source", "{tmp}/dest", "--prior", "no-such-prior"], "no prior 'no-such-prior'"),
        (["{tmp}/source", "{tmp}/dest", "--set", "batchs=3"], "did you mean 'batch'"),
        (["{tmp}/source", "{tmp}/dest", "--set", "batch"], "is not NAME=VALUE"),
        (["{tmp}/source", "{tmp}/dest", "--limit", "0"], "'limit'"),
        (["{tmp}/source", "{tmp}/dest", "--strength", "0"], "'method.strength'"),
        (["{tmp}/source", "{tmp}/dest", "--protect", "{tmp}/nowhere"], "{tmp}/nowhere does not exist"),
        (["{tmp}/source", "{tmp}/dest", "--settings", "{tmp}/none.yaml"], "cannot read the settings file"),
        (["{tmp}/source", "nonsense://x"], "cannot open nonsense://x"),
    ],
)
def test_a_wrong_argument_is_one_line_and_writes_nothing(
    source: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    result = run("restore", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert words.format(tmp=tmp_path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_setting_in_the_environment_is_an_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2R_WORKRES", "2")
    result = run("restore", source, tmp_path / "dest")
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert "did you mean 'workers'" in result.stderr


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_destination_without_anything_is_an_error(tmp_path: Path, command: str) -> None:
    result = run(command, tmp_path)
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert "holds no restored images" in result.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("verify", ("verifying", "1/1", "images/s, 1 failed")),
        ("clean", ("cleaning", "1/1", "1 superfluous")),
    ],
)
def test_what_goes_over_a_destination_shows_how_far_it_is_on_a_terminal_only(
    tmp_path: Path, command: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = open_store(str(tmp_path))
    same = {"source_uri": "file:///a.png", "status": "restored", "finished_at": datetime.now(UTC)}
    same |= {"run_id": "r", "attempts": 1, "output_sha256": hashlib.sha256(b"ours").hexdigest()}
    generations = [
        {"output_uri": dest.uri("a.png"), "epoch": 1},
        {"output_uri": dest.uri("a.jpg"), "epoch": 2},
    ]
    rows = to_parquet(to_table([same | generation for generation in generations]))
    dest.write(f"{folder_of('r')}/part-000000.parquet", rows)
    dest.write("a.png", b"ours")
    piped = run(command, tmp_path)
    assert piped.stderr == ""
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    assert run(command, tmp_path).stdout == piped.stdout
    shown = screen.getvalue()
    assert "reading the manifest" in shown
    for word in words:
        assert word in shown


def test_a_repair_that_leaves_something_wrong_says_so(tmp_path: Path) -> None:
    dest = open_store(str(tmp_path / "dest"))
    row = {
        "run_id": "r",
        "source_uri": f"file://{tmp_path}/gone/a.png",
        "output_uri": dest.uri("a.png"),
        "output_sha256": "0",
        "status": "restored",
    }
    row |= {"epoch": 1, "attempts": 1, "finished_at": datetime.now(UTC)}
    dest.write(f"{folder_of('r')}/part-000000.parquet", to_parquet(to_table([row])))
    record = {"run_id": "r", "details": {"source": f"file://{tmp_path}/gone", "settings": {}}}
    dest.write(record_key("r"), json.dumps(record).encode())
    result = run("verify", tmp_path / "dest", "--repair")
    assert result.exit_code == ExitStatus.SOME_FAILED
    assert "gone does not exist" in result.stdout
    assert result.stdout.count(f"missing: file://{tmp_path}/dest/a.png") == 2
    assert "1 objects are still wrong" in result.stdout
