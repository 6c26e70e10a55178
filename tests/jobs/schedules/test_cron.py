"""Cron lines: what is refused, and that what is written for each scheduler means what the line meant."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from jobs.schedules.cron import CronLine, check_timezone
from pipeline.errors import SettingsError

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "has not five fields"),
        ("@reboot", "has not five fields.*or @hourly, @daily"),
        ("0 2 * *", "has not five fields"),
        ("0 0 2 * * *", "has not five fields"),
        ("60 2 * * *", "bad minute"),
        ("0 two * * *", "bad hour"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 L * *", "name the days by number"),
        ("0 0 * * MON#1", "name the days by number"),
        ("0 0 */2 * 1", "list the days by number"),
    ],
)
def test_a_line_that_not_every_scheduler_reads_is_refused(line: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as error:
        CronLine.parse(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "expression", "events"),
    [
        ("0 2 * * *", "0 2 * * *", ["*-*-* 2:0:00"]),
        ("@daily", "0 0 * * *", ["*-*-* 0:0:00"]),
        ("*/15 * * * mon-fri", "0,15,30,45 * * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* *:0,15,30,45:00"]),
        ("0 0 * jan,feb 7", "0 0 * 1,2 0", ["Sun *-1,2-* 0:0:00"]),
        ("5/20 3 1-5,9 * *", "5,25,45 3 1-5,9 * *", ["*-*-1..5,9 3:5,25,45:00"]),
        ("0 0 1 * 1", "0 0 1 * 1", ["*-*-1 0:0:00", "Mon *-*-* 0:0:00"]),
    ],
)
def test_lines_as_schedulers_read_them(line: str, expression: str, events: list[str]) -> None:
    cron = CronLine.parse(line)
    assert cron.expression == expression
    assert cron.calendar_events(None) == events
    assert cron.calendar_events("UTC") == [f"{event} UTC" for event in events]


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("*/15 * * * *", 900), ("0 2 * * *", 86400), ("0 2,4 * * *", 7200), ("0 0 29 2 *", 4 * 365.25 * 86400)],
)
def test_how_far_apart_a_line_is_due(line: str, seconds: float) -> None:
    assert CronLine.parse(line).seconds_between == seconds


@given(st.text(alphabet="0123456789*/-,LW#AMONJ ", max_size=24))
def test_any_text_is_a_line_or_an_error_of_ours(text: str) -> None:
    try:
        cron = CronLine.parse(text)
    except SettingsError:
        return
    assert CronLine.parse(cron.expression) == cron
    assert next(CronSim(cron.expression, MOMENT)) == next(CronSim(text, MOMENT))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(
    "line", ["0 2 * * *", "*/20 1-3 * * 1-5", "30 4 1,15 * *", "0 6 13 * 5", "0 0 * 2 0"]
)
def test_systemd_is_due_when_cron_is(line: str) -> None:
    cron = CronLine.parse(line)
    zone = "America/New_York"
    due = CronSim(cron.expression, MOMENT.astimezone(ZoneInfo(zone)))
    expected = sorted(next(due).astimezone(UTC) for _ in range(4))
    found = set()
    for event in cron.calendar_events(zone):
        done = subprocess.run(
            [
                "systemd-analyze",
                "calendar",
                "--iterations=4",
                f"--base-time={MOMENT:%Y-%m-%d %H:%M:%S} UTC",
                event,
            ],
            capture_output=True,
            text=True,
            check=True,
            env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
        )
        for each in done.stdout.splitlines():
            label, _, moment = each.partition(": ")
            if label.strip().startswith(("Next elapse", "Iter")):
                found.add(datetime.strptime(moment.strip(), "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC))
    assert sorted(found)[:4] == expected


def test_the_next_time_is_that_of_the_zone() -> None:
    cron = CronLine.parse("0 2 * * *")
    berlin = ZoneInfo("Europe/Berlin")
    summer = cron.next_after(datetime(2026, 7, 1, tzinfo=UTC), berlin)
    winter = cron.next_after(datetime(2026, 12, 1, tzinfo=UTC), berlin)
    assert (summer.utcoffset(), winter.utcoffset()) == (timedelta(hours=2), timedelta(hours=1))
    assert {summer.hour, winter.hour} == {2}


def test_a_time_zone_that_does_not_exist_is_refused_with_the_nearest() -> None:
    assert check_timezone("Europe/Berlin") == "Europe/Berlin"
    with pytest.raises(SettingsError, match="did you mean 'Europe/Berlin'"):
        check_timezone("Europe/Berln")
