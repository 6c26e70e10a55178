"""Writes a schedule as manifests for Kubernetes: a RayCronJob, or a CronJob that creates RayJobs."""

from __future__ import annotations

from dataclasses import replace

from jobs.schedules.kubernetes import cron_job, ray_cron_job, ray_job_spec
from jobs.schedules.schedule import Schedule
from jobs.schedules.yaml_text import Object, to_yaml


def _place_time_and_job(schedule: Schedule) -> tuple[str, str, str, str, Object]:
    """Name, namespace, cron line, its timezone and the job, as both kinds of objects take them."""
    nodes = schedule.nodes
    if schedule.webhook:
        nodes = replace(nodes, secret=f"{schedule.name}-webhook", webhook=schedule.webhook)
    job = ray_job_spec(nodes, schedule.arguments, schedule.settings.max_hours)
    return schedule.name, schedule.namespace, schedule.cron.expression, schedule.timezone or "UTC", job


def _webhook_note(schedule: Schedule) -> str:
    if not schedule.webhook:
        return ""
    return (
        "# The webhook's address, and its token if it has one, come from a secret that is not in this file:\n"
        f"#   kubectl create secret generic {schedule.name}-webhook --namespace {schedule.namespace} "
        "--from-file=url --from-file=token\n"
    )


def ray_cron_job_files(schedule: Schedule) -> dict[str, str]:
    item = ray_cron_job(*_place_time_and_job(schedule))
    text = (
        "# KubeRay 1.6 or newer. Its feature gate RayCronJob is off by default: in the Helm chart's values,\n"
        "#   featureGates: [{name: RayCronJob, enabled: true}]\n"
        "# Without it, write a batch/v1 CronJob with --kind cronjob.\n"
        f"# Apply it with: kubectl apply -f {schedule.name}.yaml\n"
    )
    return {f"{schedule.name}.yaml": text + _webhook_note(schedule) + to_yaml(item)}


def cron_job_files(schedule: Schedule) -> dict[str, str]:
    objects = cron_job(*_place_time_and_job(schedule))
    text = (
        "# A CronJob that creates a RayJob, with the right to do that and nothing else.\n"
        f"# Apply it with: kubectl apply -f {schedule.name}.yaml\n"
        "# Finished RayJobs stay until they are deleted:\n"
        f"#   kubectl delete rayjobs --namespace {schedule.namespace} "
        f"--selector app.kubernetes.io/instance={schedule.name}\n"
    )
    return {f"{schedule.name}.yaml": text + _webhook_note(schedule) + to_yaml(*objects)}
