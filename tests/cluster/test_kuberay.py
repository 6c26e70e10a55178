"""The manifests for KubeRay: each against its schema, as written and as they come out of kustomize."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import check_objects, check_ray_object, closed, cluster_spec, pods

from jobs.schedules.kubernetes import write_manifests
from pipeline.stages.session import SERVING_CPUS

KUBERAY = Path(__file__).parents[2] / "cluster" / "kuberay"
WORKLOADS = ["raycluster-cpu", "raycluster-gpu", "rayjob-cpu", "rayjob-gpu"]
OVERLAYS = ["aws", "gcp", "azure"]
SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|aws_secret|secret_?access|private_key|BEGIN [A-Z ]*KEY|AccountKey=", re.I
)


def kustomize(folder: Path) -> str:
    """What kustomize makes of a folder."""
    commands: list[Sequence[str]] = [["kustomize", "build"], ["kubectl", "kustomize"]]
    for command in commands:
        if shutil.which(command[0]):
            return subprocess.run([*command, folder], check=True, capture_output=True, text=True).stdout
    pytest.skip("neither kustomize nor kubectl is installed")


def load(workload: str) -> dict[str, Any]:
    (item,) = check_objects((KUBERAY / workload / f"{workload.partition('-')[0]}.yaml").read_text())
    return item


def test_the_manifests_are_those_that_the_code_writes(tmp_path: Path) -> None:
    write_manifests(tmp_path)
    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.yaml")}
    assert len(written) == 2 * len(WORKLOADS)
    for path, text in written.items():
        assert (KUBERAY / path).read_text() == text, (
            "run `python -m jobs.schedules.kubernetes cluster/kuberay`"
        )


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_fits_its_schema_and_what_the_pipeline_asks_for(workload: str) -> None:
    item = load(workload)
    spec = cluster_spec(item)
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    _, workers = pods(item)
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    wanted = workers["spec"]["containers"][0]["resources"]
    assert wanted["requests"] == wanted["limits"]
    assert int(wanted["limits"]["cpu"]) > SERVING_CPUS
    assert ("nvidia.com/gpu" in wanted["limits"]) == workload.endswith("gpu")
    (group,) = spec["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert group["idleTimeoutSeconds"] > 0


@pytest.mark.parametrize("workload", WORKLOADS)
def test_pods_answer_probes_run_as_nobody_and_only_workers_go_to_spot_nodes(workload: str) -> None:
    head, workers = pods(load(workload))
    for pod in (head, workers):
        (container,) = pod["spec"]["containers"]
        assert {"readinessProbe", "livenessProbe", "lifecycle"} <= set(container)
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["terminationGracePeriodSeconds"] < 30  # the notice of a spot node
        assert pod["spec"]["restartPolicy"] == "Never"  # or KubeRay refuses its second autoscaler
    assert any("spot" in each["key"] for each in workers["spec"]["tolerations"])
    assert "tolerations" not in head["spec"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_comes_out_of_kustomize_as_it_is(workload: str) -> None:
    (item,) = check_objects(kustomize(KUBERAY / workload))
    assert item == load(workload)


@pytest.mark.parametrize("cloud", OVERLAYS)
def test_an_overlay_ties_the_pods_to_an_identity_of_its_cloud(cloud: str) -> None:
    text = kustomize(KUBERAY / "overlays" / cloud)
    assert not SECRETS.search(text)
    objects = {item["kind"]: item for item in check_objects(text)}
    account = objects["ServiceAccount"]["metadata"]
    (identity,) = account["annotations"]
    assert identity.startswith({"aws": "eks.", "gcp": "iam.gke.", "azure": "azure.workload."}[cloud])
    for pod in pods(objects["RayCluster"]):
        assert pod["spec"]["serviceAccountName"] == account["name"]
        assert not pod["spec"]["containers"][0]["image"].startswith("invert2restore")
        used = pod["metadata"]["labels"].get("azure.workload.identity/use")
        assert used == ("true" if cloud == "azure" else None)


@pytest.mark.parametrize("cloud", OVERLAYS)
def test_what_an_overlay_names_is_there(cloud: str) -> None:
    folder = KUBERAY / "overlays" / cloud
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert all((folder / resource / "kustomization.yaml").is_file() for resource in content["resources"])


def test_a_misspelt_key_is_refused() -> None:
    item = load("rayjob-cpu")
    item["spec"]["backofLimit"] = 1
    with pytest.raises(Exception, match="backofLimit"):
        check_ray_object(item)
    assert closed({"type": "object", "properties": {"a": {}}})["additionalProperties"] is False
