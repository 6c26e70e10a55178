"""The manifests for KubeRay: each against its schema, as written and as they come out of kustomize."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
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
    assert len(written) == 2 * len(WORKLOADS) + 1
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
def test_a_job_wants_the_token_and_workers_hold_none_of_kubernetes(workload: str) -> None:
    item = load(workload)
    assert cluster_spec(item)["authOptions"] == {"mode": "token"}
    head, workers = pods(item)
    for pod in (head, workers):
        names = {variable["name"] for variable in pod["spec"]["containers"][0]["env"]}
        assert not names & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}  # KubeRay's own would lose to them
    assert workers["spec"]["automountServiceAccountToken"] is False
    assert workers["spec"]["serviceAccountName"] == f"{head['spec']['serviceAccountName']}-worker"
    accounts = {each["metadata"]["name"]: each for each in base("serviceaccount")}
    assert set(accounts) == {pod["spec"]["serviceAccountName"] for pod in (head, workers)}
    assert accounts["invert2restore-worker"]["automountServiceAccountToken"] is False


def base(name: str) -> list[dict[str, Any]]:
    return check_objects((KUBERAY / "base" / f"{name}.yaml").read_text())


def test_only_its_own_pods_and_the_operator_reach_a_cluster_and_it_no_metadata_service() -> None:
    (policy,) = base("networkpolicy")
    spec = policy["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    for workload in WORKLOADS:
        for pod in pods(load(workload)):
            assert spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    own, operator, prometheus = spec["ingress"]
    assert own == {"from": [{"podSelector": spec["podSelector"]}]}
    for rule, name, port in ((operator, "kuberay-operator", 8265), (prometheus, "prometheus", 8080)):
        ((peer,), (open_port,)) = rule["from"], rule["ports"]
        assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": name}
        assert open_port == {"port": port}
    blocks = [peer["ipBlock"] for rule in spec["egress"] for peer in rule.get("to", []) if "ipBlock" in peer]
    for address in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"):
        assert not any(leads_to(block, address) for block in blocks)
    assert any(leads_to(block, "52.216.0.1") for block in blocks)
    (gcp,) = check_objects((KUBERAY / "overlays/gcp/metadata.yaml").read_text())
    assert gcp["spec"]["podSelector"] == spec["podSelector"]


def leads_to(block: dict[str, Any], address: str) -> bool:
    """Whether a rule for a block of addresses lets an address through."""
    where = ip_address(address)
    return where in ip_network(block["cidr"]) and not any(where in ip_network(no) for no in block["except"])


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_comes_out_of_kustomize_as_it_is(workload: str) -> None:
    (item,) = check_objects(kustomize(KUBERAY / workload))
    assert item == load(workload)


@pytest.mark.parametrize("cloud", OVERLAYS)
def test_an_overlay_ties_the_pods_to_an_identity_of_its_cloud(cloud: str) -> None:
    text = kustomize(KUBERAY / "overlays" / cloud)
    assert not SECRETS.search(text)
    objects = check_objects(text)
    accounts = [item["metadata"] for item in objects if item["kind"] == "ServiceAccount"]
    for account in accounts:
        (identity,) = account["annotations"]
        assert identity.startswith({"aws": "eks.", "gcp": "iam.gke.", "azure": "azure.workload."}[cloud])
    policies = [item["metadata"]["name"] for item in objects if item["kind"] == "NetworkPolicy"]
    assert set(policies) == {"invert2restore", *(["invert2restore-metadata"] if cloud == "gcp" else [])}
    (cluster,) = (item for item in objects if item["kind"] == "RayCluster")
    assert {pod["spec"]["serviceAccountName"] for pod in pods(cluster)} == {each["name"] for each in accounts}
    for pod in pods(cluster):
        assert not pod["spec"]["containers"][0]["image"].startswith("invert2restore")
        used = pod["metadata"]["labels"].get("azure.workload.identity/use")
        assert used == ("true" if cloud == "azure" else None)


@pytest.mark.parametrize("cloud", OVERLAYS)
def test_what_an_overlay_names_is_there(cloud: str) -> None:
    folder = KUBERAY / "overlays" / cloud
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    for resource in content["resources"]:
        place = folder / resource
        assert (place if place.suffix == ".yaml" else place / "kustomization.yaml").is_file()


def test_a_misspelt_key_is_refused() -> None:
    item = load("rayjob-cpu")
    item["spec"]["backofLimit"] = 1
    with pytest.raises(Exception, match="backofLimit"):
        check_ray_object(item)
    assert closed({"type": "object", "properties": {"a": {}}})["additionalProperties"] is False
