"""What a long-running command says of how far it is."""

from __future__ import annotations

import pytest

from jobs.progress import Lines, describe, duration
from pipeline.summary import Progress


def test_says_rate_time_left_counts_and_the_slowest_stage() -> None:
    progress = Progress(
        done=30,
        total=90,
        failed=2,
        seconds=15.0,
        counts={"restored": 20, "unchanged": 8, "failed": 2},
        stage_seconds={"decode": 1.0, "restore": 9.0},
    )
    assert describe(progress) == "2 images/s, 30s left, 20 restored, 8 unchanged, 2 failed, slowest: restore"


def test_says_nothing_of_what_is_not_known() -> None:
    assert describe(Progress(total=5)) == ""
    assert describe(Progress(done=5, total=5, seconds=2.0)) == "2.5 images/s, 0 failed"
    assert describe(Progress(done=1, total=5)) == "0 failed"


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
