"""Schedules of repeated runs, as files for a scheduler.

Every kind of schedule starts `i2r restore` with the same arguments: it handles new, changed and failed inputs
while holding the lease, and a run that starts while another holds it ends at once. No file holds a secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobs.schedules.cron import CronLine, check_timezone
from jobs.schedules.isolation import worker_account
from jobs.schedules.kubernetes import (
    ADDED_BY_CREATE,
    LONGEST_LABEL,
    LONGEST_RAY_CRON_JOB,
    LONGEST_RAY_JOB,
    Nodes,
    check_image,
    check_name,
)
from jobs.webhook import check_variable
from pipeline.errors import SettingsError
from pipeline.runs.addresses import anywhere, extent_of, has_protocol, refuse_overlap, refuse_secrets
from pipeline.settings import RunSettings, changed_settings

GRACE_SECONDS = 900
"""Seconds after `max_hours` for a run to record what it has finished."""
LONGEST_NAME = 64
_FILE_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]*")


class Kind(StrEnum):
    """The scheduler that starts the runs."""

    RAYCRONJOB = "raycronjob"
    CRONJOB = "cronjob"
    CRONTAB = "crontab"
    SYSTEMD = "systemd"
    AIRFLOW = "airflow"


IN_CLUSTER = (Kind.RAYCRONJOB, Kind.CRONJOB)
ON_THIS_MACHINE = (Kind.CRONTAB, Kind.SYSTEMD)


@dataclass(frozen=True)
class Schedule:
    """A schedule of a run.

    Attributes:
        name: of the schedule.
        kind: the scheduler that starts the runs.
        cron: when a run is due.
        timezone: of the cron line; None for the machine's.
        source, dest: addresses.
        settings: of every run.
        webhook: name of the variable with the webhook's address, or None.
        namespace: in Kubernetes.
        nodes: that the runs use in Kubernetes.
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
        """Check all values, and make a schedule of them.

        Raises:
            SettingsError: a value is wrong; one line says why, and how to fix it.
        """
        values = {"SOURCE": source, "DEST": dest, **changed_settings(settings)}
        refuse_secrets(values, "every reader of the file")
        _refuse_control_characters(values)
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
                changes["gpus"] = nodes.least  # without a GPU the run would wait forever
        elif nodes.device == "gpu":
            raise SettingsError(
                f"--device is for Kubernetes, and --kind {kind} is not: "
                "--gpus 1 says that a run does not start without one"
            )
        source, dest = _address("SOURCE", source, kind), _address("DEST", dest, kind)
        refuse_overlap(extent_of(source), dest)
        return cls(
            name=_checked_name(name or _default_name(dest), kind),
            kind=kind,
            cron=CronLine.parse(cron),
            timezone=check_timezone(timezone) if timezone else None,
            source=source,
            dest=dest,
            settings=settings.model_copy(update=changes),
            webhook=check_variable(webhook) if webhook else None,
            namespace=check_name(namespace, "namespace", LONGEST_LABEL, "--namespace"),
            nodes=nodes,
        )

    @property
    def arguments(self) -> list[str]:
        """Arguments of `i2r` for one run."""
        arguments = ["restore", self.source, self.dest, "--log-format", "json"]
        if self.kind in IN_CLUSTER:
            arguments += ["--address", "auto"]
        if self.webhook:
            arguments += ["--webhook-env", self.webhook]
        if self.kind is not Kind.CRONTAB:  # cron retries nothing
            arguments.append("--retried")
        for name, value in changed_settings(self.settings).items():
            arguments += ["--set", f"{name}={json.dumps(value)}"]
        return arguments

    @property
    def seconds(self) -> int | None:
        """Seconds after which a run must have ended, or None."""
        hours = self.settings.max_hours
        return None if hours is None else round(hours * 3600) + GRACE_SECONDS


def _refuse_control_characters(values: Mapping[str, Any]) -> None:
    """Refuse values that would break the lines of a file. Raises SettingsError."""
    for name, value in values.items():
        if not str(value).isprintable():
            raise SettingsError(f"{name} {str(value)!r} holds a control character: rename it")


def _address(argument: str, address: str, kind: Kind) -> str:
    """An address that is valid wherever the schedule runs. Raises SettingsError."""
    if kind in ON_THIS_MACHINE or has_protocol(address) or os.path.isabs(address):
        return anywhere(address)
    raise SettingsError(
        f"{argument} {address!r} is a path that only this machine knows: "
        f"give an address such as s3://bucket/prefix for --kind {kind}"
    )


def _checked_nodes(nodes: Nodes, gpus: int | None) -> Nodes:
    """Check nodes, and require one for each GPU that a run requires. Raises SettingsError."""
    longest = LONGEST_LABEL - len(worker_account(""))
    check_name(nodes.service_account, "service account", longest, "--service-account")
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
    """A name from the last part of the destination."""
    last = dest.rstrip("/").rpartition("/")[2].lower()
    return f"i2r-{re.sub(r'[^a-z0-9]+', '-', last).strip('-')}"[:LONGEST_RAY_CRON_JOB].strip("-")
