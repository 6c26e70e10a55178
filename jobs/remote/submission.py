"""Submits a run as a job to a Ray cluster: its name, its command, and a check for earlier attempts."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jobs.remote.client import Cluster, SubmittedJob
from jobs.remote.package import stage
from pipeline.errors import SettingsError
from pipeline.records.lease import JOB_VARIABLE, SUBMISSION_VARIABLE
from pipeline.records.summary import ExitStatus
from pipeline.runs.addresses import anywhere, extent_of, refuse_overlap, refuse_secrets
from pipeline.settings import RunSettings, changed_settings
from pipeline.storage.store import open_store

SECONDS_TO_STOP = 300
"""Seconds until a job that was asked to stop is killed: Ray's default of 3 is too short to record results."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Work:
    """A run to submit.

    Attributes:
        source, dest: addresses that do not depend on the working directory.
        settings: of the run.
        name: made of a digest of source, destination and settings, and of the day or a given name.
    """

    source: str
    dest: str
    settings: RunSettings
    name: str


def describe_work(source: str, dest: str, settings: RunSettings, name: str | None, *, check: bool) -> Work:
    """Make the work of a run to submit.

    Args:
        source, dest: as for `restore_dataset`.
        settings: of the run.
        name: replaces today's date (UTC) in the name of the work, or None.
        check: open the source and the destination from here, to check them.

    Raises:
        SettingsError: an argument is wrong, or has a secret in it that others could read on the cluster.
    """
    refuse_secrets({"SOURCE": source, "DEST": dest, **changed_settings(settings)}, "everybody on the cluster")
    if name is not None and not _NAME.fullmatch(name):
        raise SettingsError(f"--name {name!r}: take up to 40 of a-z, 0-9 and -, with no - at either end")
    refuse_overlap(extent_of(source), dest)
    digest = ""
    if check:
        from pipeline.runs.run import check_dataset

        digest = check_dataset(source, dest, settings).settings_sha256
    source, dest = anywhere(source), anywhere(dest)
    prefixes = {"reference": settings.reference, "protect": settings.protect}
    settings = settings.model_copy(update={name: anywhere(at) for name, at in prefixes.items() if at})
    content = json.dumps([source, dest, settings.model_dump(mode="json"), digest], sort_keys=True)
    day = name or f"{datetime.now(UTC):%Y%m%d}"
    return Work(source, dest, settings, f"i2r-{day}-{hashlib.sha256(content.encode()).hexdigest()[:12]}")


def submit_work(cluster: Cluster, work: Work, *, again: bool) -> str:
    """Submit work to a cluster. Returns the submission id.

    Args:
        cluster: to submit to.
        work: to submit.
        again: submit it even if an attempt runs or has succeeded.

    Raises:
        SettingsError: the work was submitted before, or the cluster lacks the GPUs that it requires.
        RunError: the cluster does not accept it.
    """
    if work.settings.gpus and not work.settings.gpu_minutes:  # otherwise the job itself waits for GPUs
        cluster.require_gpus(work.settings.gpus)
    attempts = [job for job in cluster.jobs() if job.name == work.name]
    if not again:
        refuse_twice(attempts)
    attempt = max((job.attempt for job in attempts), default=0) + 1
    submission_id = work.name if attempt == 1 else f"{work.name}-{attempt}"
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
        prior = stage(Path(folder), work.settings.prior)
        labels = {
            "i2r_name": work.name,
            "i2r_attempt": str(attempt),
            "i2r_source": open_store(work.source).uri(),
            "i2r_dest": open_store(work.dest).uri(),
            "i2r_mark": f"{submission_id}/{secrets.token_hex(4)}",
        }
        alone = all(job.is_over for job in attempts)
        environment = {
            "RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP),
            JOB_VARIABLE: _job_name(cluster, work.name if alone else submission_id),
            SUBMISSION_VARIABLE: labels["i2r_mark"],
        }
        runtime = {"working_dir": folder, "env_vars": environment}
        cluster.submit(entrypoint(work, prior), submission_id, runtime, labels)
    return submission_id


def entrypoint(work: Work, prior: str) -> str:
    """The command that the cluster runs. `exec` replaces the shell, so that it gets the stop signal."""
    changed = changed_settings(work.settings.model_copy(update={"prior": prior}))
    pairs = [f"--set={name}={json.dumps(value)}" for name, value in changed.items()]
    command = ["python", "-m", "jobs.cli", "restore", "--address=auto", *pairs, "--", work.source, work.dest]
    return f"exec {shlex.join(command)}"


def _job_name(cluster: Cluster, name: str) -> str:
    """The value of `I2R_JOB`, shared by attempts on one cluster: a later one takes the lease over at once.

    An attempt shares it only if Ray reports that all earlier ones have ended. Otherwise it gets a value of
    its own, and cannot take the lease from an attempt that still runs.
    """
    return f"{name}@{hashlib.sha256(cluster.address.encode()).hexdigest()[:12]}"


def refuse_twice(attempts: Sequence[SubmittedJob]) -> None:
    """Raise SettingsError if one of the attempts at the work runs, or the last one is done.

    One in which some images failed is done, too: another attempt would not change that.
    """
    for job in attempts:
        if not job.is_over:
            raise SettingsError(
                f"this work is under way as {job.id}: `i2r jobs logs {job.id} --follow` shows it, "
                "--again submits it all the same"
            )
    last = max(attempts, key=lambda job: job.attempt, default=None)
    if last and (last.state == "SUCCEEDED" or last.exit_code == ExitStatus.SOME_FAILED):
        raise SettingsError(
            f"this work was done as {last.id}: --again, or another --name, submits it once more"
        )
