"""Runs that come every night: ready files for whatever keeps the time.

Every kind starts `i2r restore` with the same arguments: it does what is new, changed or failed, under the
lease, and a second one that comes too early stands back. No file holds a secret.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobs.schedules.cron import CronLine, check_timezone
from jobs.schedules.kubernetes import (
    ADDED_BY_CREATE,
    LONGEST_RAY_CRON_JOB,
    LONGEST_RAY_JOB,
    Nodes,
    check_image,
    check_name,
    cron_job,
    ray_cron_job,
    ray_job_spec,
    to_yaml,
)
from jobs.webhook import check_name as check_webhook
from pipeline.errors import SettingsError
from pipeline.redaction import without_secrets
from pipeline.settings import RunSettings, changed_settings

GRACE_SECONDS = 900
"""Beyond `max_hours`, for what is under way to be recorded."""
LONGEST_NAME = 64
_FILE_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]*")
_REMOTE = re.compile(r"[a-z][a-z0-9+.]*:", re.IGNORECASE)


class Kind(StrEnum):
    """What keeps the time."""

    RAYCRONJOB = "raycronjob"
    CRONJOB = "cronjob"
    CRONTAB = "crontab"
    SYSTEMD = "systemd"
    AIRFLOW = "airflow"


IN_CLUSTER = (Kind.RAYCRONJOB, Kind.CRONJOB)
ON_THIS_MACHINE = (Kind.CRONTAB, Kind.SYSTEMD)


@dataclass(frozen=True)
class Schedule:
    """What runs when, and under which name.

    Attributes:
        name: of the schedule.
        kind: what keeps the time.
        cron: when it is due.
        timezone: of the cron line; None is that of the machine.
        source, dest: addresses.
        settings: of every run.
        webhook: name of the variable with the address that takes the summary, or None.
        namespace: in Kubernetes.
        nodes: what it runs on in Kubernetes.
    """

    name: str
    kind: Kind
    cron: CronLine
    timezone: str | None
    source: str
    dest: str
    settings: RunSettings
    webhook: str | None = None
    namespace: str = "default"
    nodes: Nodes = field(default_factory=Nodes)

    @classmethod
    def checked(
        cls,
        *,
        name: str | None,
        kind: Kind,
        cron: str,
        timezone: str | None,
        source: str,
        dest: str,
        settings: RunSettings,
        webhook: str | None,
        namespace: str,
        nodes: Nodes,
    ) -> Schedule:
        """A schedule whose every part was checked.

        Raises:
            SettingsError: one line that says what is wrong, and the mend.
        """
        _refuse_secrets({"SOURCE": source, "DEST": dest, **changed_settings(settings)})
        if kind not in ON_THIS_MACHINE:
            timezone = timezone or "UTC"
        changes: dict[str, Any] = {"retry_failed": True}
        if Path(settings.prior).is_dir():
            changes["prior"] = _address("prior", settings.prior, kind)
        for prefix in ("reference", "protect"):
            if address := getattr(settings, prefix):
                changes[prefix] = _address(prefix, address, kind)
        if kind in IN_CLUSTER:
            nodes = _checked_nodes(nodes, settings.gpus)
            if nodes.device == "gpu":
                changes["gpus"] = nodes.least  # without one the run would wait for ever
        elif nodes.device == "gpu":
            raise SettingsError(
                f"--device is for Kubernetes, and --kind {kind} is not: "
                "--gpus 1 says that a run does not start without one"
            )
        source, dest = _address("SOURCE", source, kind), _address("DEST", dest, kind)
        _refuse_overlap(source, dest)
        return cls(
            name=_checked_name(name or _default_name(dest), kind),
            kind=kind,
            cron=CronLine.parse(cron),
            timezone=check_timezone(timezone) if timezone else None,
            source=source,
            dest=dest,
            settings=settings.model_copy(update=changes),
            webhook=check_webhook(webhook) if webhook else None,
            namespace=check_name(namespace, "namespace", 63, "--namespace"),
            nodes=nodes,
        )

    @property
    def arguments(self) -> list[str]:
        """Of `i2r`, for one run."""
        arguments = ["restore", self.source, self.dest, "--log-format", "json"]
        if self.kind in IN_CLUSTER:
            arguments += ["--address", "auto"]
        if self.webhook:
            arguments += ["--webhook-env", self.webhook]
        for name, value in changed_settings(self.settings).items():
            arguments += ["--set", f"{name}={json.dumps(value)}"]
        return arguments

    @property
    def seconds(self) -> int | None:
        """After which a run has to be over, or None."""
        hours = self.settings.max_hours
        return None if hours is None else round(hours * 3600) + GRACE_SECONDS


def schedule_files(schedule: Schedule) -> dict[str, str]:
    """The files of a schedule, by name."""
    writers: dict[Kind, Callable[[Schedule], dict[str, str]]] = {
        Kind.RAYCRONJOB: _ray_cron_job,
        Kind.CRONJOB: _cron_job,
        Kind.CRONTAB: _crontab,
        Kind.SYSTEMD: _systemd,
        Kind.AIRFLOW: _airflow,
    }
    return writers[schedule.kind](schedule)


def _refuse_secrets(values: Mapping[str, Any]) -> None:
    """Refuse what must not stand in a file, and what would break its lines."""
    for name, value in values.items():
        text = str(value)
        if without_secrets(text) != text:
            raise SettingsError(
                f"{name} holds a password or a signature, which would stand in the file: "
                "give the address alone, and let the cloud's own credentials open it"
            )
        if not text.isprintable():
            raise SettingsError(f"{name} {text!r} holds a control character: rename it")


def _address(argument: str, address: str, kind: Kind) -> str:
    """An address that means the same wherever the schedule runs. Raises SettingsError."""
    if _REMOTE.match(address) or address.startswith("/"):
        return address
    if kind in ON_THIS_MACHINE:
        return str(Path(address).absolute())
    raise SettingsError(
        f"{argument} {address!r} is a path that only this machine knows: "
        f"give an address such as s3://bucket/prefix for --kind {kind}"
    )


def _refuse_overlap(source: str, dest: str) -> None:
    """Refuse what every run would: neither address is opened, which may want rights that only runs have."""
    before, magic, _ = re.split(r"([*?\[]|$)", source, maxsplit=1)
    first, second = ((before.rpartition("/")[0] if magic else before).rstrip("/"), dest.rstrip("/"))
    if f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/"):
        raise SettingsError(f"SOURCE {source} and DEST {dest} overlap: choose a DEST outside of SOURCE")


def _checked_nodes(nodes: Nodes, gpus: int | None) -> Nodes:
    """Nodes that can be had, with as many GPUs as a run insists on, one each. Raises SettingsError."""
    check_name(nodes.service_account, "service account", 63, "--service-account")
    if nodes.image:
        check_image(nodes.image)
    if gpus is None:
        return nodes
    if nodes.device != "gpu":
        raise SettingsError(f"--gpus {gpus} wants nodes that have them: add --device gpu")
    if gpus > nodes.most:
        raise SettingsError(
            f"--gpus {gpus} are more than --max-nodes {nodes.most} have, of one GPU each: raise --max-nodes"
        )
    return replace(nodes, least=gpus)


def _checked_name(name: str, kind: Kind) -> str:
    if kind is Kind.RAYCRONJOB:
        return check_name(name, "RayCronJob", LONGEST_RAY_CRON_JOB)
    if kind is Kind.CRONJOB:
        longest = LONGEST_RAY_JOB - ADDED_BY_CREATE
        return check_name(
            name, f"CronJob of RayJobs, which have {LONGEST_RAY_JOB} and end in -xxxxx,", longest
        )
    if not _FILE_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise SettingsError(
            f"--name {name!r} is no name for a file: use letters, digits, - and _, {LONGEST_NAME} at most"
        )
    return name


def _default_name(dest: str) -> str:
    """A name made of the last part of the destination."""
    last = dest.rstrip("/").rpartition("/")[2].lower()
    return f"i2r-{re.sub(r'[^a-z0-9]+', '-', last).strip('-')}"[:LONGEST_RAY_CRON_JOB].strip("-")


def _cluster_nodes(schedule: Schedule) -> Nodes:
    if not schedule.webhook:
        return schedule.nodes
    return replace(schedule.nodes, secret=f"{schedule.name}-webhook", webhook=schedule.webhook)


def _webhook_note(schedule: Schedule) -> str:
    if not schedule.webhook:
        return ""
    return (
        "# The webhook's address, and its token if it has one, come from a secret that is not in this file:\n"
        f"#   kubectl create secret generic {schedule.name}-webhook --namespace {schedule.namespace} "
        "--from-file=url --from-file=token\n"
    )


def _ray_cron_job(schedule: Schedule) -> dict[str, str]:
    nodes = _cluster_nodes(schedule)
    item = ray_cron_job(
        schedule.name,
        schedule.namespace,
        schedule.cron.expression,
        schedule.timezone or "UTC",
        ray_job_spec(nodes, schedule.arguments, schedule.settings.max_hours),
    )
    text = (
        "# KubeRay 1.6 or newer. Its feature gate RayCronJob is off by default: in the Helm chart's values,\n"
        "#   featureGates: [{name: RayCronJob, enabled: true}]\n"
        "# Without it, write a batch/v1 CronJob with --kind cronjob.\n"
        f"# Apply it with: kubectl apply -f {schedule.name}.yaml\n"
    )
    return {f"{schedule.name}.yaml": text + _webhook_note(schedule) + to_yaml(item)}


def _cron_job(schedule: Schedule) -> dict[str, str]:
    nodes = _cluster_nodes(schedule)
    objects = cron_job(
        schedule.name,
        schedule.namespace,
        schedule.cron.expression,
        schedule.timezone or "UTC",
        ray_job_spec(nodes, schedule.arguments, schedule.settings.max_hours),
    )
    text = (
        "# A CronJob that creates a RayJob, with the right to do that and nothing else.\n"
        f"# Apply it with: kubectl apply -f {schedule.name}.yaml\n"
        "# Finished RayJobs stay until they are deleted:\n"
        f"#   kubectl delete rayjobs --namespace {schedule.namespace} "
        f"--selector app.kubernetes.io/instance={schedule.name}\n"
    )
    return {f"{schedule.name}.yaml": text + _webhook_note(schedule) + to_yaml(*objects)}


def _program() -> list[str]:
    """How to start `i2r` from a process with another search path."""
    beside = Path(sys.executable).with_name("i2r")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "jobs.cli"]


def _crontab(schedule: Schedule) -> dict[str, str]:
    command = shlex.join([*_program(), *schedule.arguments])
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


def _systemd(schedule: Schedule) -> dict[str, str]:
    name = schedule.name
    about = f"Restore {schedule.source} into {schedule.dest}".replace("%", "%%")
    events = "\n".join(f"OnCalendar={event}" for event in schedule.cron.calendar_events(schedule.timezone))
    secrets = f"EnvironmentFile=%E/i2r/{name}.env\n" if schedule.webhook else ""
    note = (
        f"# {schedule.webhook}=… stands in ~/.config/i2r/{name}.env, readable by you alone.\n"
        if secrets
        else ""
    )
    command = " ".join(_systemd_quoted(part) for part in [*_program(), *schedule.arguments])
    service = (
        f"{note}[Unit]\nDescription={about}\n\n"
        f"[Service]\nType=oneshot\n{secrets}ExecStart={command}\n"
        "SuccessExitStatus=4 5\n"
        "# The program alone is told to stop, and has the time to record what it has finished.\n"
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
    """An argument as systemd reads it: in quotes, where `%` and `$` would stand for something else."""
    escaped = part.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s\"';\\]", part) or not part else escaped


def _airflow(schedule: Schedule) -> dict[str, str]:
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
        # Airflow would fill in what stands between double braces.
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
        retries=2,
        retry_delay=timedelta(minutes=5),
        skip_on_exit_code=[4, 5],  # another run is at work; it stopped early on purpose
        execution_timeout={limit},
    )
'''


def as_text(files: Mapping[str, str]) -> str:
    """Files as one text, each under its name where there are several."""
    if len(files) == 1:
        return next(iter(files.values()))
    return "\n".join(f"# {name}\n{text}" for name, text in files.items())


def write_files(files: Mapping[str, str], folder: Path) -> Sequence[Path]:
    """Write files into a folder; where they lie. Raises SettingsError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise SettingsError(f"--out {folder} cannot be written: {error.strerror}") from error
    return [folder / name for name in files]
