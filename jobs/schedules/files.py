"""The files of a schedule, for every kind of scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jobs.schedules.airflow import airflow_files
from jobs.schedules.kube_files import cron_job_files, ray_cron_job_files
from jobs.schedules.schedule import Kind, Schedule
from jobs.schedules.unix_files import crontab_files, systemd_files
from pipeline.errors import SettingsError


def schedule_files(schedule: Schedule) -> dict[str, str]:
    """The files of a schedule, by name."""
    writers: dict[Kind, Callable[[Schedule], dict[str, str]]] = {
        Kind.RAYCRONJOB: ray_cron_job_files,
        Kind.CRONJOB: cron_job_files,
        Kind.CRONTAB: crontab_files,
        Kind.SYSTEMD: systemd_files,
        Kind.AIRFLOW: airflow_files,
    }
    return writers[schedule.kind](schedule)


def as_text(files: Mapping[str, str]) -> str:
    """Files as one text, each under its name if there are several."""
    if len(files) == 1:
        return next(iter(files.values()))
    return "\n".join(f"# {name}\n{text}" for name, text in files.items())


def write_files(files: Mapping[str, str], folder: Path) -> Sequence[Path]:
    """Write files into a folder. Returns their paths. Raises SettingsError if they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise SettingsError(f"--out {folder} cannot be written: {error.strerror}") from error
    return [folder / name for name in files]
