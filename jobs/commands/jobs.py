"""`i2r submit` and `i2r jobs …`: jobs on a Ray cluster, through its Jobs API."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.commands.command import CommandGroup
from jobs.commands.options import SettingsCommand
from jobs.remote.endpoint import ADDRESS_VARIABLE, DEFAULT_ADDRESS

if TYPE_CHECKING:
    from jobs.commands.options import ReadSettings
    from jobs.remote.client import Cluster, SubmittedJob
    from pipeline.records.summary import Progress
    from pipeline.records.watching import RunWatch

Function = TypeVar("Function", bound=Callable[..., Any])

SECONDS_BETWEEN_LOOKS = 2.0


def on_cluster(command: Function) -> Function:
    """Add the option `--address` of the cluster to a command."""
    return click.option(
        "--address",
        envvar=ADDRESS_VARIABLE,
        default=DEFAULT_ADDRESS,
        show_default=True,
        help="The Jobs API of the cluster's head.",
    )(command)


@click.command(cls=SettingsCommand)
@click.argument("source")
@click.argument("dest")
@on_cluster
@click.option("--name", help="Distinguishes this work from others like it. [default: today's date]")
@click.option("--again", is_flag=True, help="Submit it even if an earlier attempt runs or has succeeded.")
@click.option("--no-check", is_flag=True, help="Do not check SOURCE and DEST from here.")
@click.option("--wait", is_flag=True, help="Wait for the job, and end with its exit status.")
def submit(
    source: str,
    dest: str,
    settings: ReadSettings,
    address: str,
    name: str | None,
    again: bool,
    no_check: bool,
    wait: bool,
) -> int:
    """Restore SOURCE into DEST as a job on a Ray cluster.

    This code travels with it. SOURCE and DEST must mean the same to every node: use a bucket, or a disk that
    they share.

    Exit status: 0 it was submitted (with --wait, the job's own, as of `restore`); 1 the cluster did not take
    it; 2 wrong settings or arguments, or it was submitted before.
    """
    from jobs.remote.client import Cluster
    from jobs.remote.submission import describe_work, submit_work

    work = describe_work(source, dest, settings(), name, check=not no_check)
    cluster = Cluster(address)
    submission_id = submit_work(cluster, work, again=again)
    print(submission_id, flush=True)
    if wait:
        return _wait(cluster, submission_id)
    click.echo(f"i2r: submitted; `i2r jobs status {submission_id} --watch` shows how far it is", err=True)
    return 0


@click.group("jobs", cls=CommandGroup)
def jobs_group() -> None:
    """List, watch, read, stop and await submitted jobs."""


@jobs_group.command("list")
@on_cluster
def list_jobs(address: str) -> None:
    """List the jobs that the cluster remembers, oldest first."""
    from jobs.remote.client import Cluster
    from jobs.views.tables import print_jobs

    print_jobs(Cluster(address).jobs())


@jobs_group.command()
@click.argument("job")
@click.option("--watch", is_flag=True, help="Show it until it ends.")
@on_cluster
def status(job: str, watch: bool, address: str) -> None:
    """Show how far JOB is, by the manifest at its destination."""
    from jobs.remote.client import Cluster
    from jobs.views.tables import print_job

    cluster = Cluster(address)
    submitted = cluster.job(job)
    run = _watch_of(submitted)
    if watch:
        submitted = _await(cluster, submitted, run)
    print_job(submitted, _look(run))


@jobs_group.command()
@click.argument("job")
@click.option("--follow", is_flag=True, help="Go on until the job ends; Ctrl-C leaves the job running.")
@on_cluster
def logs(job: str, follow: bool, address: str) -> None:
    """Print what JOB has printed."""
    from jobs.remote.client import Cluster

    cluster = Cluster(address)
    if not follow or cluster.job(job).is_over:
        click.echo(cluster.logs(job), nl=False)
        return
    try:
        cluster.follow(job, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(f"\ni2r: {job} goes on; `i2r jobs stop {job}` ends it", err=True)


@jobs_group.command()
@click.argument("job")
@on_cluster
def stop(job: str, address: str) -> int:
    """End JOB early: what is finished is recorded, and submitting the same work again goes on from there.

    Exit status: 0 it has ended, and recorded what it did, as far as DEST can be read from here; 1 it was
    killed before it could.
    """
    from jobs.remote.client import Cluster
    from jobs.views.tables import print_job
    from pipeline.records.summary import ExitStatus

    cluster = Cluster(address)
    submitted = cluster.job(job)
    if submitted.is_over:
        click.echo(f"i2r: {job} has ended before: {submitted.state.lower()}", err=True)
        return ExitStatus.DONE
    cluster.stop(job)
    run = _watch_of(submitted)
    print_job(_await(cluster, submitted, run), _look(run))
    return ExitStatus.BROKEN if _was_cut_off(run) else ExitStatus.DONE


@jobs_group.command()
@click.argument("job")
@on_cluster
def wait(job: str, address: str) -> int:
    """Wait for JOB to end, and end with its exit status; Ctrl-C leaves it running."""
    from jobs.remote.client import Cluster

    return _wait(Cluster(address), job)


def _wait(cluster: Cluster, job_id: str) -> int:
    from jobs.views.tables import print_job

    job = cluster.job(job_id)
    run = _watch_of(job)
    job = _await(cluster, job, run)
    print_job(job, _look(run))
    return exit_status(job, run)


def exit_status(job: SubmittedJob, run: RunWatch) -> int:
    """The exit status of a finished job, as `i2r restore` would give it."""
    from pipeline.records.summary import ExitStatus

    if job.state == "SUCCEEDED":
        return ExitStatus.DONE
    if job.state == "STOPPED":
        return ExitStatus.BROKEN if _was_cut_off(run) else ExitStatus.STOPPED
    known = {int(status): status for status in ExitStatus}
    return known.get(job.exit_code, ExitStatus.BROKEN) if job.exit_code is not None else ExitStatus.BROKEN


def _watch_of(job: SubmittedJob) -> RunWatch:
    from pipeline.records.watching import RunWatch
    from pipeline.storage.store import open_store

    return RunWatch(open_store(job.dest), job.mark)


def _await(cluster: Cluster, job: SubmittedJob, run: RunWatch) -> SubmittedJob:
    """Show the progress of a job until it ends; Ctrl-C ends the command, not the job."""
    from jobs.views.progress import show_progress
    from pipeline.records.summary import Progress

    try:
        with show_progress() as show:
            while not job.is_over:
                show(_look(run) or Progress(stage=job.state.lower()))
                time.sleep(SECONDS_BETWEEN_LOOKS)
                job = cluster.job(job.id)
    except KeyboardInterrupt:
        click.echo(f"i2r: {job.id} is left as it is; `i2r jobs status {job.id}` shows it", err=True)
        from jobs.views.progress import INTERRUPTED

        sys.exit(INTERRUPTED)
    return job


def _was_cut_off(run: RunWatch) -> bool:
    """Whether a run died before it recorded what it did; where that cannot be read from here, it says so."""
    from pipeline.errors import PipelineError

    try:
        return run.was_cut_off()
    except PipelineError as error:
        click.echo(f"i2r: whether it recorded what it did cannot be seen from here: {error}", err=True)
        return False


def _look(run: RunWatch) -> Progress | None:
    """The progress of a run; None if it cannot be read from here, so that watching goes on."""
    from pipeline.errors import PipelineError

    try:
        return run.look()
    except PipelineError:
        return None
