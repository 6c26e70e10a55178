"""Writes a schedule as manifests for Kubernetes: a RayCronJob, or a CronJob that creates RayJobs."""

from __future__ import annotations

from dataclasses import replace

from jobs.schedules.isolation import network_policy, worker_account
from jobs.schedules.kubernetes import DISTRIBUTION, cron_job, ray_cron_job, ray_job_spec
from jobs.schedules.schedule import Schedule
from jobs.schedules.yaml_text import Object, to_yaml


def _place_time_and_job(schedule: Schedule) -> tuple[str, str, str, str, Object]:
    """Name, namespace, cron line, its timezone and the job, as both kinds of objects take them."""
    nodes = schedule.nodes
    if schedule.webhook:
        nodes = replace(nodes, secret=f"{schedule.name}-webhook", webhook=schedule.webhook)
    job = ray_job_spec(nodes, schedule.arguments, schedule.settings.max_hours)
    return schedule.name, schedule.namespace, schedule.cron.expression, schedule.timezone or "UTC", job


def _preparations(schedule: Schedule) -> str:
    """What must be there before the first night, in comments."""
    nodes, namespace = schedule.nodes, f"--namespace {schedule.namespace}"
    kind = "cuda" if nodes.device == "gpu" else "cpu"
    accounts = nodes.service_account, worker_account(nodes.service_account)
    lines = [
        "Before the first run, build and push the image that it runs, from the project's folder:",
        f"  docker build --file cluster/Containerfile.{kind} --tag {nodes.pulled} .",
        f"  docker push {nodes.pulled}",
        *([] if nodes.image else ["That name has no registry: give the schedule --image with yours."]),
        "Create the service accounts of the head and of the workers:",
        *(f"  kubectl create serviceaccount {account} {namespace}" for account in accounts),
        f"Both need an identity that reads {schedule.source} and writes {schedule.dest}:",
        "the overlays in cluster/kuberay create them with one. On GKE, apply gcp/metadata.yaml of them, too.",
    ]
    if schedule.webhook:
        lines += [
            "The webhook's address, and its token if it has one, come from a secret, not from this file:",
            f"  kubectl create secret generic {schedule.name}-webhook {namespace} "
            "--from-file=url --from-file=token",
        ]
    return "".join(f"# {line}\n" for line in lines)


def _policy(schedule: Schedule) -> Object:
    return network_policy(DISTRIBUTION, {"name": DISTRIBUTION, "namespace": schedule.namespace})


def ray_cron_job_files(schedule: Schedule) -> dict[str, str]:
    item = ray_cron_job(*_place_time_and_job(schedule))
    text = (
        "# KubeRay 1.7 or newer, whose RayCronJob knows time zones. The feature gate of that name is off\n"
        "# by default: in the Helm chart's values,\n"
        "#   featureGates: [{name: RayCronJob, enabled: true}]\n"
        "# Without it, write a batch/v1 CronJob with --kind cronjob.\n"
        f"# Apply it with: kubectl apply -f {schedule.name}.yaml\n"
    )
    return {f"{schedule.name}.yaml": text + _preparations(schedule) + to_yaml(item, _policy(schedule))}


def cron_job_files(schedule: Schedule) -> dict[str, str]:
    objects = cron_job(*_place_time_and_job(schedule))
    text = (
        "# A CronJob that creates a RayJob, with the right to do that and nothing else.\n"
        f"# Apply it with: kubectl apply -f {schedule.name}.yaml\n"
        "# Finished RayJobs stay until they are deleted:\n"
        f"#   kubectl delete rayjobs --namespace {schedule.namespace} "
        f"--selector app.kubernetes.io/instance={schedule.name}\n"
    )
    return {f"{schedule.name}.yaml": text + _preparations(schedule) + to_yaml(*objects, _policy(schedule))}
