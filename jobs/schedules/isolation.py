"""Kubernetes objects that keep a cluster to itself: who may reach its pods, what they reach, and as whom.

The pods decode bytes that strangers made. So only the pods themselves and KubeRay's operator reach them, they
reach no metadata service of a cloud, and workers hold no token of Kubernetes' API.
"""

from __future__ import annotations

from jobs.schedules.yaml_text import Object

LABEL = "app.kubernetes.io/name"
DASHBOARD, METRICS = 8265, 8080
LINK_LOCAL = "169.254.0.0/16"
_METADATA = {
    "0.0.0.0/0": [LINK_LOCAL, "100.100.100.200/32", "168.63.129.16/32"],
    "::/0": ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"],
}
"""Everything, and in it the metadata services of the clouds."""


def worker_account(account: str) -> str:
    """The service account of workers, beside the one of the head."""
    return f"{account}-worker"


def network_policy(name: str, place: Object) -> Object:
    """Who reaches the pods with the name `name`, and what they reach.

    Args:
        name: value of `LABEL` of the pods.
        place: name of the object, and its namespace if it is known.
    """
    ours = {"podSelector": {"matchLabels": {LABEL: name}}}
    egress: list[Object] = [
        {"to": [ours]},
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"to": [{"ipBlock": {"cidr": cidr, "except": held}} for cidr, held in _METADATA.items()]},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": place,
        "spec": {
            "podSelector": ours["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [ours]},
                _from_everywhere("kuberay-operator", DASHBOARD),
                _from_everywhere("prometheus", METRICS),
            ],
            "egress": egress,
        },
    }


def _from_everywhere(name: str, port: int) -> Object:
    """Pods of a name in any namespace may reach a port."""
    pods = {"namespaceSelector": {}, "podSelector": {"matchLabels": {LABEL: name}}}
    return {"from": [pods], "ports": [{"port": port}]}
