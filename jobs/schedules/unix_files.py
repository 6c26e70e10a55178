"""Writes a schedule as lines for cron, or as a service and a timer for systemd."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from jobs.schedules.schedule import Schedule


def program() -> list[str]:
    """The command that starts `i2r` whatever the search path."""
    beside = Path(sys.executable).with_name("i2r")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "jobs.cli"]


def crontab_files(schedule: Schedule) -> dict[str, str]:
    command = shlex.join([*program(), *schedule.arguments])
    note, zone = "", ""
    if schedule.webhook:
        secrets = f'"$HOME/.config/i2r/{schedule.name}.env"'
        note = f"# {schedule.webhook}=… stands in ~/.config/i2r/{schedule.name}.env, readable by you alone.\n"
        command = f"{{ set -a; . {secrets}; set +a; {command}; }}"
    if schedule.timezone:
        zone = f"CRON_TZ={schedule.timezone}\n"
        note += (
            "# CRON_TZ holds for every line below it, so these go last. Debian's cron does not know it\n"
            "# and goes by the machine's own time: use --kind systemd there.\n"
        )
    # A percent sign ends the command of a crontab line, unless it is escaped, even between quotes.
    line = f'{command} >> "$HOME/{schedule.name}.log" 2>&1'.replace("%", r"\%")
    text = f"# Add these lines with: crontab -e\n{note}{zone}{schedule.cron.expression} {line}\n"
    return {f"{schedule.name}.crontab": text}


def systemd_files(schedule: Schedule) -> dict[str, str]:
    name = schedule.name
    about = f"Restore {schedule.source} into {schedule.dest}".replace("%", "%%")
    events = "\n".join(f"OnCalendar={event}" for event in schedule.cron.calendar_events(schedule.timezone))
    secrets = f"EnvironmentFile=%E/i2r/{name}.env\n" if schedule.webhook else ""
    note = (
        f"# {schedule.webhook}=… stands in ~/.config/i2r/{name}.env, readable by you alone.\n"
        if secrets
        else ""
    )
    command = " ".join(_systemd_quoted(part) for part in [*program(), *schedule.arguments])
    service = (
        f"{note}[Unit]\nDescription={about}\n"
        "# Three attempts at most, and the next time that it is due three again.\n"
        f"StartLimitIntervalSec={schedule.cron.seconds_between // 2}\nStartLimitBurst=3\n\n"
        f"[Service]\nType=oneshot\n{secrets}ExecStart={command}\n"
        "# --retried ends with 0 where another attempt would change nothing; 2 and 6 need a person.\n"
        "Restart=on-failure\nRestartSec=300\nRestartPreventExitStatus=2 6\n"
        "# The program alone gets the signal to stop, and has the time to record what it has finished.\n"
        "KillMode=mixed\nTimeoutStopSec=300\n"
        f"TimeoutStartSec={schedule.seconds or 'infinity'}\n"
    )
    timer = (
        f"# systemctl --user enable --now {name}.timer, once both files are in ~/.config/systemd/user\n"
        "# loginctl enable-linger, or it is not due while you are logged out\n"
        f"[Unit]\nDescription={about}\n\n"
        f"[Timer]\n{events}\nPersistent=true\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def _systemd_quoted(part: str) -> str:
    """Quote an argument for systemd, and escape `%` and `$`, which it would expand."""
    escaped = part.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s\"';\\]", part) or not part else escaped
