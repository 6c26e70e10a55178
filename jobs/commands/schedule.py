"""The command `i2r schedule`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.commands.options import SettingsCommand

if TYPE_CHECKING:
    from jobs.commands.options import ReadSettings
    from jobs.schedules.kubernetes import Device

KINDS = ("raycronjob", "cronjob", "crontab", "systemd", "airflow")


@click.command(cls=SettingsCommand)
@click.argument("source")
@click.argument("dest")
@click.option(
    "--cron",
    required=True,
    metavar="LINE",
    help="When a run is due, e.g. '0 2 * * *': at two every night; or @daily.",
)
@click.option(
    "--timezone", metavar="ZONE", help="Time zone of the cron line. [default: UTC; of crontab, systemd: here]"
)
@click.option("--kind", type=click.Choice(KINDS), required=True, help="Scheduler that starts the runs.")
@click.option("--name", help="Name of the schedule. [default: made of DEST]")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Write the files there.")
@click.option("--webhook-env", metavar="NAME", help="Post summaries to the address in this variable.")
@click.option("--namespace", default="default", show_default=True, help="Namespace in Kubernetes.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    help="Device of the nodes in Kubernetes. [default: cpu]",
)
@click.option(
    "--image", default="", help="Container image in Kubernetes. [default: invert2restore, of this version]"
)
@click.option(
    "--max-nodes", type=click.IntRange(min=1), default=8, show_default=True, help="Most nodes in Kubernetes."
)
@click.option(
    "--service-account",
    default="invert2restore",
    show_default=True,
    help="Service account of the head in Kubernetes; that of the workers ends in -worker, too.",
)
def schedule(
    source: str,
    dest: str,
    cron: str,
    timezone: str | None,
    kind: str,
    name: str | None,
    out: Path | None,
    webhook_env: str | None,
    namespace: str,
    device: Device,
    image: str,
    max_nodes: int,
    service_account: str,
    settings: ReadSettings,
) -> None:
    """Write the files that restore SOURCE into DEST again and again, on time.

    Each run handles new, changed and failed images. The files go to the standard output, or to --out FOLDER.
    """
    from jobs.schedules.files import as_text, schedule_files, write_files
    from jobs.schedules.kubernetes import Nodes
    from jobs.schedules.schedule import Kind, Schedule

    checked = Schedule.checked(
        name=name,
        kind=Kind(kind),
        cron=cron,
        timezone=timezone,
        source=source,
        dest=dest,
        settings=settings(),
        webhook=webhook_env,
        namespace=namespace,
        nodes=Nodes(device, image, max_nodes, service_account),
    )
    files = schedule_files(checked)
    if out is None:
        click.echo(as_text(files), nl=False)
    else:
        for path in write_files(files, out):
            click.echo(path)
