"""What a long-running command says of how far it is."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from jobs.views import progress as module
from jobs.views.progress import Lines, describe, duration, show_progress
from pipeline.records.summary import FIRST_IMAGE, Progress


def test_says_rate_time_left_counts_and_the_slowest_stage() -> None:
    progress = Progress(
        done=30,
        total=90,
        failed=2,
        seconds=15.0,
        counts={"restored": 20, "unchanged": 8, "failed": 2},
        stage_seconds={"decode": 1.0, "restore": 9.0},
        megapixels=7.5,
    )
    assert describe(progress) == (
        "2 images/s, 0.5 Mpx/s, 30s left, 7.5 Mpx done, 20 restored, 8 unchanged, 2 failed, slowest: restore"
    )


def test_says_nothing_of_what_is_not_known() -> None:
    assert describe(Progress(total=5)) == ""
    assert describe(Progress(done=5, total=5, seconds=2.0)) == "2.5 images/s, 0 failed"
    assert describe(Progress(done=1, total=5)) == "0 failed"


def test_says_how_long_it_has_waited_for_the_first_image() -> None:
    assert describe(Progress(total=5, seconds=12.3, stage="restoring the first image")) == "12s so far"
    assert describe(Progress(seconds=12.3, stage="done")) == ""


def test_a_run_that_is_over_has_no_time_left() -> None:
    for stage in ("done", "stopped"):
        assert "left" not in describe(Progress(done=2, total=40, seconds=4.0, stage=stage))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_shows_all_of_it_however_narrow(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()

    def terminal(stderr: bool) -> Console:
        return Console(file=screen, force_terminal=True, width=width, color_system=None)

    monkeypatch.setattr(module, "Console", terminal)
    counts = {"restored": 70_000, "unchanged": 14_000, "rejected": 3, "failed": 120}
    with show_progress() as show:
        show(Progress(84_123, 1_234_567, 120, 4_000.0, "restoring", "run", counts, {"restore": 9.0}))
    shown = " ".join(screen.getvalue().split())
    for words in ("restoring", "━", "84123/1234567", "21 images/s", "15h 11m left", "70000 restored"):
        assert words in shown
    assert "120 failed, slowest: restore" in shown


def test_a_narrow_terminal_shows_what_the_first_image_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    narrow = Console(file=screen, force_terminal=True, width=60, color_system=None)
    monkeypatch.setattr(module, "Console", lambda stderr: narrow)
    with show_progress() as show:
        show(Progress(total=1_234_567, seconds=7.0, stage=FIRST_IMAGE))
    for words in (FIRST_IMAGE, "0/1234567", "7s so far"):
        assert words in screen.getvalue()


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    show = Lines()
    for done in (0, 1, 2, 3, 4, 4, 4):
        show(Progress(done=done, total=4, seconds=done, stage="restoring"))
    show(Progress(done=4, total=4, seconds=4, stage="recording"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1:3] for line in lines] == [
        ["restoring", "0/4"],
        ["restoring", "4/4"],
        ["recording", "4/4"],
    ]
    assert "1 images/s" in lines[-1]


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42s"), (185, "3m 05s"), (7620, "2h 07m")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_second_ctrl_c_ends_at_once_without_a_traceback() -> None:
    program = """
import time
from jobs.views.progress import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    stop.wait()
    print("stopping", flush=True)
    time.sleep(60)
"""
    command = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    for line in ("ready\n", "stopping\n"):
        assert command.stdout.readline() == line
        command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=30)
    assert command.returncode == 130
    assert said.strip() == "i2r: ended at once; the same command goes on from what is recorded"
