"""Writes a schedule as a DAG for Airflow."""

from __future__ import annotations

import shlex

from jobs.schedules.schedule import Schedule
from pipeline.errors import SettingsError


def airflow_files(schedule: Schedule) -> dict[str, str]:
    command = shlex.join(["i2r", *schedule.arguments])
    if "{%" in command:
        raise SettingsError("an argument holds {%, which Airflow would fill in: use another --kind")
    limit = f"timedelta(seconds={schedule.seconds})" if schedule.seconds else "None"
    text = _DAG.format(
        source=_shown(schedule.source),
        dest=_shown(schedule.dest),
        name=schedule.name,
        cron=schedule.cron.expression,
        timezone=schedule.timezone,
        # Outside of `raw`, Airflow would expand text between double braces.
        command=repr(f"{{% raw %}}{command}{{% endraw %}}"),
        limit=limit,
    )
    return {f"{schedule.name}.py": text}


def _shown(address: str) -> str:
    return address.replace("\\", "\\\\").replace('"', '\\"')


_DAG = '''"""Restore {source} into {dest}."""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable

with DAG(
    dag_id="{name}",
    schedule=CronTriggerTimetable("{cron}", timezone="{timezone}"),
    start_date=datetime(2024, 1, 1),
    catchup=False,
    max_active_runs=1,
):
    BashOperator(
        task_id="restore",
        bash_command={command},
        append_env=True,  # the webhook's address and the cloud's credentials are the worker's own
        env={{"I2R_JOB": "{{{{ dag.dag_id }}}}/{{{{ run_id }}}}"}},  # a retry takes over from its predecessor
        retries=2,  # --retried ends with 0 where they would change nothing
        retry_delay=timedelta(minutes=5),
        execution_timeout={limit},
    )
'''
