"""The documentation: its commands run, one page after the other, and its links and flags exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import fsspec
import pytest
from older_manifests import as_version_1
from PIL import Image

from i2r import Action, Finding, What
from i2r.form_names import OPERATORS, RECORDS
from pipeline.records.findings import TYPE, to_column
from pipeline.records.manifest import SCHEMA, to_parquet, to_table

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ["folder.md", "bucket.md", "nightly.md", "watching.md", "report.md", "priors.md", "forms.md"]
"""With commands that run here."""
ABSENT = {"checkpoint", "cloud", "cluster", "docker", "duckdb", "index", "kubectl", "ports"}
_BLOCK = re.compile(r"^```sh(?: needs=(\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """What each block of commands needs, and the commands."""
    return [(found[1] or "", found[2]) for found in _BLOCK.finditer((DOCS / page).read_text())]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A new user's folder: `i2r` on the search path, and a small photograph."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "bin").mkdir()
    program = folder / "bin" / "i2r"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m jobs.cli "$@"\n')
    program.chmod(0o755)
    (folder / "photographs").mkdir()
    with Image.open(samples / "clean" / "honey-bee.png") as picture:
        picture.crop((60, 40, 108, 88)).save(folder / "photographs" / "honey-bee.png")
    return folder


@pytest.fixture
def cloud(home: Path) -> Iterator[dict[str, str]]:
    """What a user has in the environment who has access to a store that speaks S3; the archive lies there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    store = fsspec.filesystem("s3", key="testing", secret="testing", endpoint_url=address)
    for bucket in ("archive", "archive-restored"):
        store.mkdir(bucket)
    store.put(str(home / "photographs"), "archive/scans", recursive=True)
    yield {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.mark.timeout(600)
def test_the_commands_of_the_pages_run(home: Path, cloud: dict[str, str]) -> None:
    path = os.pathsep.join([str(home / "bin"), os.environ["PATH"]])
    modules = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    environment = os.environ | cloud | {"PATH": path, "PYTHONPATH": modules, "HOME": str(home)}
    for page in PAGES:
        here = [commands for needs, commands in blocks(page) if not needs]
        assert here
        for commands in here:
            done = subprocess.run(
                ["sh", "-eu", "-c", commands],
                cwd=home,
                env=environment,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            assert done.returncode == 0, f"{page}: {commands}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_what_a_page_mentions_is_there(page: str) -> None:
    text = (DOCS / page).read_text()
    assert {needs for needs, _ in blocks(page)} <= ABSENT | {""}
    assert text.count("```") == 2 * (len(blocks(page)) + text.count("```yaml"))
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (DOCS / link).exists(), link
    for place in re.findall(r"(?<!/)\bcluster/[\w./-]+", text):
        assert (ROOT / place).exists(), place


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (DOCS / "README.md").read_text()
    assert all(f"({page.name})" in contents for page in DOCS.glob("*.md") if page.name != "README.md")


def test_every_form_is_in_its_table_in_the_order_in_which_they_are_given() -> None:
    told, _ = (DOCS / "forms.md").read_text().split("What was found", 1)
    assert tuple(re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)) == OPERATORS + RECORDS


def test_every_column_of_the_manifest_and_every_word_of_a_finding_is_explained() -> None:
    page = (DOCS / "manifest.md").read_text()
    words = [*SCHEMA.names, *(field.name for field in TYPE.value_type), *What, *Action]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_the_query_for_what_is_suspected_finds_the_newest_rows(tmp_path: Path) -> None:
    [(_, command)] = blocks("manifest.md")
    marks = to_column([Finding(What.MARKS, 0.97, 0.1, Action.SUSPECTED)])
    row = {"attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
    for run, tables in {
        "a": as_version_1(to_table([row | {"source_uri": "old", "source_key": "old", "epoch": 1}])),
        "b": to_table(
            [
                row | {"source_uri": "new", "source_key": "new", "epoch": 2, "findings": marks},
                row | {"source_uri": "gone", "source_key": "gone", "epoch": 2, "findings": marks},
            ]
        ),
        "c": to_table([row | {"source_uri": "gone", "source_key": "gone", "epoch": 3, "findings": []}]),
    }.items():
        part = tmp_path / f"restored/_i2r/manifest/run={run}/part.parquet"
        part.parent.mkdir(parents=True)
        part.write_bytes(to_parquet(tables))
    sql = command.split('"')[1].replace("'restored/", f"'{tmp_path}/restored/")
    assert duckdb.sql(sql).fetchall() == [("new", "marks", 0.97, "{}")]
