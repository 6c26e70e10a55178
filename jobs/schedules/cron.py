"""The time of a schedule: a cron line that means the same to every scheduler, and its time zone."""

from __future__ import annotations

import difflib
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from pipeline.errors import SettingsError

MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS = (
    frozenset(numbers) for numbers in (range(60), range(24), range(1, 32), range(1, 13), range(7))
)
_NAMES = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_TIMES = 100
"""Times at which a line is due that show how far apart they are."""
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MEND = "write minute hour day month weekday, for example '0 2 * * *' for two o'clock every night"


@dataclass(frozen=True)
class CronLine:
    """A cron line of five fields.

    Attributes:
        minutes, hours, days, months: when it is due.
        weekdays: when it is due, 0 to 6 from Sunday on.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> CronLine:
        """Read a cron line, or one of cron's names for some, such as `@daily`.

        Raises:
            SettingsError: the text is no cron line, is never due, or means different things to different
                schedulers.
        """
        problem = f"--cron {text!r}"
        text = _NICKNAMES.get(text.strip().lower(), text)
        fields = text.split()
        if len(fields) != 5:
            raise SettingsError(f"{problem} has not five fields: {_MEND}, or {', '.join(_NICKNAMES)}")
        try:
            line = CronSim(text, datetime(2024, 1, 1))
            next(line)
        except (CronSimError, AssertionError) as error:
            raise SettingsError(
                f"{problem} is no cron line ({str(error).lower() or 'bad field'}): {_MEND}"
            ) from error
        except StopIteration as error:
            raise SettingsError(f"{problem} is never due: {_MEND}") from error
        weekdays = {number % 7 for number in line.weekdays if isinstance(number, int)}
        if min(line.days) < 0 or any(isinstance(number, tuple) for number in line.weekdays):
            raise SettingsError(
                f"{problem}: L, LW and # are not known to every scheduler: name the days by number"
            )
        starred = [field.startswith("*") for field in (fields[2], fields[4])]
        limited = [line.days != DAYS, weekdays != WEEKDAYS]
        if all(limited) and any(starred):
            raise SettingsError(
                f"{problem}: schedulers do not agree on a * beside another day field: list the days by number"
            )
        return cls(*map(frozenset, (line.minutes, line.hours, line.days, line.months, weekdays)))

    @property
    def expression(self) -> str:
        """The line in numbers, lists and ranges only, which every cron understands."""
        fields = (
            (self.minutes, MINUTES),
            (self.hours, HOURS),
            (self.days, DAYS),
            (self.months, MONTHS),
            (self.weekdays, WEEKDAYS),
        )
        return " ".join(_spelled(numbers, all_of_them, "-") for numbers, all_of_them in fields)

    def calendar_events(self, timezone: str | None) -> list[str]:
        """The line as systemd's calendar events: two if either a day or a weekday is enough."""
        hours, minutes = _spelled(self.hours, HOURS, ".."), _spelled(self.minutes, MINUTES, "..")
        time = f"{hours}:{minutes}:00" + (f" {timezone}" if timezone else "")
        months, days = _spelled(self.months, MONTHS, ".."), _spelled(self.days, DAYS, "..")
        by_day = f"*-{months}-{days} {time}"
        if self.weekdays == WEEKDAYS:
            return [by_day]
        names = ",".join(_NAMES[number] for number in sorted(self.weekdays))
        by_weekday = f"{names} *-{months}-* {time}"
        return [by_weekday] if self.days == DAYS else [by_day, by_weekday]

    @property
    def seconds_between(self) -> int:
        """Fewest seconds between two times that it is due, of those of the next years."""
        due = CronSim(self.expression, datetime(2024, 1, 1))
        times = list(islice(due, _TIMES))
        return min(round((after - before).total_seconds()) for before, after in pairwise(times))

    def next_after(self, moment: datetime, zone: tzinfo | None) -> datetime:
        """The next time it is due, in a time zone; None for this machine's."""
        return next(CronSim(self.expression, moment.astimezone(zone)))


def check_timezone(name: str) -> str:
    """Check and return the name of a time zone. Raises SettingsError."""
    known = available_timezones()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise SettingsError(f"no time zone {name!r}: did you mean {nearest!r}?")
    ZoneInfo(name)
    return name


def _spelled(numbers: Set[int], all_of_them: Set[int], to: str) -> str:
    """Numbers as a list of numbers and ranges; `*` for all."""
    if numbers == all_of_them:
        return "*"
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ",".join(
        f"{span[0]}{to}{span[-1]}" if len(span) > 2 else ",".join(map(str, span)) for span in spans
    )
