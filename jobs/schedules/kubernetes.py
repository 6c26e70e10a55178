"""Kubernetes objects: clusters and jobs for KubeRay, and cron jobs that start them.

The resource requests fit those of `pipeline.stages.ray_data` to Ray: on CPUs one CPU for each model and two
for the other stages, on GPUs one GPU and one CPU for each model; the stages decode in child processes of at
most 4 GiB. The head runs no Ray work, since a model there would evict the driver.

`python -m jobs.schedules.kubernetes FOLDER` writes the manifests of `cluster/kuberay`.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from jobs.schedules.isolation import DASHBOARD, LABEL, METRICS, network_policy, worker_account
from jobs.schedules.yaml_text import Object, to_yaml
from pipeline.errors import SettingsError

Device = Literal["cpu", "gpu"]

LONGEST_LABEL, LONGEST_RAY_JOB, LONGEST_RAY_CRON_JOB = 63, 47, 36
ADDED_BY_CREATE = 6
"""Characters that `kubectl create` appends to a `generateName`, with its hyphen."""
DISTRIBUTION = "invert2restore"
SERVICE_ACCOUNT = DISTRIBUTION
KUBECTL_IMAGE = "registry.k8s.io/kubectl:v1.33.4"
STARTING_SECONDS = 1800
"""Seconds for nodes to start and images to be pulled; after that a job that does not run has failed."""
GRACE_SECONDS = 25
"""Seconds for a pod to end: clouds give their spot nodes at least 30 s notice."""
SPOT_LABELS = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""Labels of spot nodes in the clouds; some clouds taint these nodes with the same names."""
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][-\w./]*(:\d+/[-\w./]+)?(:[-\w.]+)?(@sha256:[0-9a-f]{64})?", re.ASCII)


@dataclass(frozen=True)
class Nodes:
    """Nodes that a job runs on.

    Attributes:
        device: that the models compute on.
        image: container image with this program and Ray.
        least, most: workers at once.
        service_account: account of the head, with the rights to read the source and write the destination;
            KubeRay lets it scale the cluster. `worker_account` has the same rights, and none in Kubernetes.
        secret: name of the secret with the webhook's address and token, or None.
        webhook: name of the variable with the webhook's address, or None.
    """

    device: Device = "cpu"
    image: str = ""
    most: int = 8
    service_account: str = SERVICE_ACCOUNT
    secret: str | None = None
    webhook: str | None = None
    least: int = 1

    @property
    def pulled(self) -> str:
        """The image that the cluster pulls; by default this version's, of no registry."""
        return self.image or f"{DISTRIBUTION}:{version(DISTRIBUTION)}-{self.device}"


def check_name(name: str, kind: str, longest: int, option: str = "--name") -> str:
    """Check and return the name of an object, given by an option. Raises SettingsError."""
    if len(name) > longest:
        raise SettingsError(
            f"{option} {name} has {len(name)} characters and a {kind} at most {longest}: shorten it"
        )
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{option} {name!r} is no name for Kubernetes: use small letters, digits, hyphens; a letter first"
        )
    return name


def check_image(image: str) -> str:
    """Check and return the name of a container image. Raises SettingsError."""
    if not _IMAGE.fullmatch(image):
        raise SettingsError(f"--image {image!r} is no image: write for example registry.example.org/i2r:1.0")
    return image


def cluster_spec(nodes: Nodes) -> Object:
    """The specification of a Ray cluster that scales with its work."""
    return {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token"},  # KubeRay makes the token, a secret of the cluster's name
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": 120,
            "resources": _resources({"cpu": "500m", "memory": "512Mi"}),
        },
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _template(
                nodes,
                "ray-head",
                {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "20Gi"},
                # The run's driver is on the head: no autoscaler may evict it while it works.
                annotations={
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    "karpenter.sh/do-not-disrupt": "true",
                },
                ports={"gcs": 6379, "dashboard": DASHBOARD, "client": 10001, "metrics": METRICS},
                affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _on_demand()}},
            ),
        },
        "workerGroupSpecs": [_workers(nodes)],
    }


def ray_job_spec(nodes: Nodes, arguments: Sequence[str], hours: float | None = None) -> Object:
    """The specification of a job on a cluster of its own.

    Args:
        nodes: that it runs on.
        arguments: of `i2r`.
        hours: after which the run stops by itself, or None.
    """
    # The attempts of one job share I2R_JOB, so that the second takes the lease from its dead predecessor at
    # once: the name of their cluster without its last part, which is random. `exec` hands the program the
    # signal to stop.
    job = 'exec env I2R_JOB="$POD_NAMESPACE/${RAY_CLUSTER_NAME%-*}"'
    spec: Object = {
        "submissionMode": "HTTPMode",  # in other modes a shell expands the globs of the entrypoint
        "entrypoint": f"{job} {shlex.join(['i2r', *arguments])}",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 300,
        "backoffLimit": 1,
        "preRunningDeadlineSeconds": STARTING_SECONDS,
    }
    if hours is not None:
        spec["activeDeadlineSeconds"] = round(hours * 3600) + STARTING_SECONDS
    return spec | {"rayClusterSpec": cluster_spec(nodes)}


def ray_cluster(name: str, nodes: Nodes) -> Object:
    """A permanent cluster."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name},
        "spec": cluster_spec(nodes),
    }


def ray_job(metadata: Object, spec: Object) -> Object:
    """A job that runs once."""
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def ray_cron_job(name: str, namespace: str, schedule: str, timezone: str, spec: Object) -> Object:
    """A job that KubeRay starts on schedule."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"schedule": schedule, "timeZone": timezone, "jobTemplate": spec},
    }


def cron_job(name: str, namespace: str, schedule: str, timezone: str, spec: Object) -> list[Object]:
    """A CronJob that creates RayJobs, for KubeRay without RayCronJob; its account may do nothing else."""
    starter = f"{name}-starter"
    place = {"name": starter, "namespace": namespace}
    job = ray_job({"generateName": f"{name}-", "labels": {"app.kubernetes.io/instance": name}}, spec)
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": place,
            "rules": [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": place,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": starter},
            "subjects": [{"kind": "ServiceAccount", "name": starter, "namespace": namespace}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": place,
            "data": {"rayjob.yaml": to_yaml(job)},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "schedule": schedule,
                "timeZone": timezone,
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 3600,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 3,
                "jobTemplate": {"spec": {"backoffLimit": 3, "template": {"spec": _starter(starter)}}},
            },
        },
    ]


def _starter(name: str) -> Object:
    """The pod that creates a RayJob; `name` is the name of its service account and its config map."""
    container = {
        "name": "create",
        "image": KUBECTL_IMAGE,
        "args": ["create", "--filename=/schedule/rayjob.yaml"],
        "resources": _resources({"cpu": "100m", "memory": "128Mi"}),
        "securityContext": {**_locked_down(), "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "schedule", "mountPath": "/schedule", "readOnly": True},
            {"name": "cache", "mountPath": "/cache"},
        ],
        "env": [{"name": "KUBECACHEDIR", "value": "/cache"}],
    }
    return {
        "serviceAccountName": name,
        "restartPolicy": "OnFailure",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "schedule", "configMap": {"name": name}}, {"name": "cache", "emptyDir": {}}],
    }


def _workers(nodes: Nodes) -> Object:
    wanted = {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "20Gi"}
    tolerations = [{"key": label, "operator": "Exists", "effect": "NoSchedule"} for label in SPOT_LABELS]
    if nodes.device == "gpu":
        wanted = {"cpu": "6", "memory": "24Gi", "ephemeral-storage": "20Gi", "nvidia.com/gpu": "1"}
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    preferred = [
        {"weight": 1, "preference": _labelled(label, "In", value)} for label, value in SPOT_LABELS.items()
    ]
    return {
        "groupName": nodes.device,
        # A run uses the devices present when it starts: there must be at least one, or all that it requires.
        "replicas": nodes.least,
        "minReplicas": nodes.least,
        "maxReplicas": nodes.most,
        "idleTimeoutSeconds": 120,
        "rayStartParams": {},
        "template": _template(
            nodes,
            "ray-worker",
            wanted,
            ports={"metrics": METRICS},
            serviceAccountName=worker_account(nodes.service_account),
            automountServiceAccountToken=False,
            tolerations=tolerations,
            affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
        ),
    }


def _template(
    nodes: Nodes,
    name: str,
    wanted: Mapping[str, str],
    *,
    ports: Mapping[str, int],
    annotations: Mapping[str, str] | None = None,
    **more: Any,
) -> Object:
    """A pod with one container that runs Ray."""
    container = {
        "name": name,
        "image": nodes.pulled,
        "env": _environment(nodes),
        "ports": [{"name": port, "containerPort": number} for port, number in ports.items()],
        "resources": _resources(wanted),
        "securityContext": _locked_down(),
        # Ray's agent reports the health of this node, and on the head also of the cluster's state.
        "readinessProbe": _probe(delay=10, failures=10),
        "livenessProbe": _probe(delay=30, failures=60),
        # A node that is being removed leaves the Ray cluster, which then moves its work.
        "lifecycle": {"preStop": {"exec": {"command": ["ray", "stop"]}}},
    }
    metadata: Object = {
        "labels": {LABEL: DISTRIBUTION},
        "annotations": {
            **(annotations or {}),
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(METRICS),
            "prometheus.io/path": "/metrics",
        },
    }
    pod = {
        "serviceAccountName": nodes.service_account,
        "restartPolicy": "Never",  # the autoscaler replaces nodes
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **more,
        "containers": [container],
    }
    return {"metadata": metadata, "spec": pod}


def _environment(nodes: Nodes) -> list[Object]:
    variables: list[Object] = [
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
        # Time for a stopped job to record what it has finished.
        {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "120"},
    ]
    if nodes.secret and nodes.webhook:
        for name, key, optional in ((nodes.webhook, "url", False), (f"{nodes.webhook}_TOKEN", "token", True)):
            source = {"name": nodes.secret, "key": key, "optional": optional}
            variables.append({"name": name, "valueFrom": {"secretKeyRef": source}})
    return variables


def _probe(delay: int, failures: int) -> Object:
    return {
        "httpGet": {"path": "/api/healthz", "port": 52365},
        "initialDelaySeconds": delay,
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _resources(wanted: Mapping[str, str]) -> Object:
    """Resources with limits equal to requests: Ray assumes that it has all that is declared."""
    return {"requests": dict(wanted), "limits": dict(wanted)}


def _locked_down() -> Object:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _on_demand() -> Object:
    return {
        "nodeSelectorTerms": [
            {"matchExpressions": [_expression(label, "NotIn", value) for label, value in SPOT_LABELS.items()]}
        ]
    }


def _labelled(label: str, operator: str, value: str) -> Object:
    return {"matchExpressions": [_expression(label, operator, value)]}


def _expression(label: str, operator: str, value: str) -> Object:
    return {"key": label, "operator": operator, "values": [value]}


_WRITTEN = "# Written by `python -m jobs.schedules.kubernetes`.\n"


def write_manifests(folder: Path) -> None:
    """Write permanent clusters and jobs that run once, for CPUs and GPUs, and the policy of their network."""
    addresses = ["s3://SOURCE", "s3://DEST"]
    restore = ["restore", *addresses, "--log-format", "json", "--address", "auto", "--retried"]
    (folder / "base").mkdir(parents=True, exist_ok=True)
    policy = to_yaml(network_policy(DISTRIBUTION, {"name": DISTRIBUTION}))
    (folder / "base" / "networkpolicy.yaml").write_text(f"{_WRITTEN}{policy}")
    devices: tuple[Device, ...] = ("cpu", "gpu")
    for device in devices:
        nodes = Nodes(device)
        wanted = [*restore, "--gpus", "1"] if device == "gpu" else restore
        for kind, item in (
            ("raycluster", ray_cluster(f"i2r-{device}", nodes)),
            ("rayjob", ray_job({"name": f"i2r-restore-{device}"}, ray_job_spec(nodes, wanted))),
        ):
            place = folder / f"{kind}-{device}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{kind}.yaml").write_text(f"{_WRITTEN}{to_yaml(item)}")
            (place / "kustomization.yaml").write_text(f"resources:\n- {kind}.yaml\n")


if __name__ == "__main__":
    write_manifests(Path(sys.argv[1]))
