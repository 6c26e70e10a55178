"""The webhook: what arrives over HTTP, how often it is tried, and that its address and token stay secret."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from jobs import webhook
from jobs.cli import main
from jobs.webhook import PAUSES, Webhook
from pipeline.errors import SettingsError
from pipeline.records.summary import ExitStatus

ATTEMPTS = 1 + len(PAUSES)


class Receiver(HTTPServer):
    """Takes what is posted, and answers with each of `answers` once, then with the last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [200]
        self.taken: list[tuple[str, str | None, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret-path"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.taken.append((self.path, self.headers["Authorization"], body))
        answers = self.server.answers
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhook, "PAUSES", (0.0,) * len(PAUSES))
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answers", "arrives", "attempts"),
    [
        ([200], True, 1),
        ([204], True, 1),
        ([500, 429, 200], True, 3),
        ([503], False, ATTEMPTS),
        ([404], False, 1),
        ([302], False, 1),
    ],
)
def test_posting_is_tried_again_where_that_can_help(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, answers: list[int], arrives: bool, attempts: int
) -> None:
    receiver.answers = answers
    environment = {"HOOK": receiver.address, "HOOK_TOKEN": "secret-token"}
    with caplog.at_level(logging.WARNING):
        assert Webhook("HOOK", environment).post({"a": 1}) is arrives
    assert receiver.taken == [("/hooks/secret-path", "Bearer secret-token", {"a": 1})] * attempts
    assert bool(caplog.text) is not arrives
    assert "secret" not in caplog.text


def test_where_nothing_listens_the_run_goes_on(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.server_close()
    assert Webhook("HOOK", {"HOOK": receiver.address}).post({}) is False
    assert "HOOK: it cannot be reached (ConnectionRefusedError)" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "value", ["", " ", "ftp://example.org/secret", "secret", "https://", "http://[secret/"]
)
def test_a_variable_without_an_address_is_refused_before_the_run(value: str) -> None:
    with pytest.raises(SettingsError) as error:
        Webhook("HOOK", {"HOOK": value})
    assert "HOOK" in str(error.value)
    assert "secret" not in str(error.value)


def restore(tmp_path: Path, receiver: Receiver, *options: object) -> tuple[int, str]:
    """Restore a folder without images, which takes no Ray."""
    (tmp_path / "source").mkdir(exist_ok=True)
    (tmp_path / "source" / "notes.txt").touch()
    line = ["restore", tmp_path / "source", tmp_path / "dest", "--webhook-env", "HOOK", *options]
    environment = {"HOOK": receiver.address, "HOOK_TOKEN": "secret-token"}
    result = CliRunner(env=environment).invoke(main, [str(each) for each in line])
    return result.exit_code, result.stdout + result.stderr


def test_a_run_posts_its_summary_and_keeps_the_secret(receiver: Receiver, tmp_path: Path) -> None:
    status, output = restore(tmp_path, receiver)
    assert status == ExitStatus.DONE
    ((_, _, record),) = receiver.taken
    assert record["exit_status"] == 0
    assert record["counts"]["ignored"] == 1
    assert ": 1 ignored in " in record["text"]
    (stored,) = (tmp_path / "dest" / "_i2r" / "runs").glob("*.json")
    assert record["run_id"] == stored.stem
    assert "secret" not in output
    files = [file for file in (tmp_path / "dest").rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if b"secret" in file.read_bytes()]


def test_a_failing_webhook_is_reported_and_does_not_fail_the_run(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [500]
    status, output = restore(tmp_path, receiver)
    assert status == ExitStatus.DONE
    assert len(receiver.taken) == ATTEMPTS
    assert "i2r: the summary was not delivered to the webhook in HOOK: it answered with status 500" in output


def test_a_run_that_cannot_finish_is_posted_too(receiver: Receiver, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "source.png")
    status, _ = restore(tmp_path, receiver, "--prior", "no-such-prior")
    ((_, _, record),) = receiver.taken
    assert status == record["exit_status"] == ExitStatus.BAD_SETTINGS
    assert "no-such-prior" in record["error"]


def test_a_variable_that_is_not_set_stops_the_run_before_it_starts(tmp_path: Path) -> None:
    line = ["restore", str(tmp_path), str(tmp_path / "dest"), "--webhook-env", "NO_HOOK"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert result.stderr == (
        "i2r: --webhook-env NO_HOOK: the variable is not set: export the address under that name\n"
    )
    assert not (tmp_path / "dest").exists()
