"""Checks of Kubernetes objects without a cluster: unknown keys are refused, or a misspelt one would pass."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[1]
RAY_SCHEMAS = ROOT.parent / "shared" / "schemas"
"""KubeRay's custom resource definitions, where somebody has put them."""
KUBERNETES = "1.33"


def check_objects(text: str) -> list[dict[str, Any]]:
    """The objects of a stream of YAML documents, each checked against its kind's schema."""
    objects = [item for item in yaml.safe_load_all(text) if item is not None]
    assert objects
    for item in objects:
        check_object(item)
    return objects


def check_object(item: dict[str, Any]) -> None:
    """Check an object against its kind's schema; those of Ray only where the schemas lie."""
    if not item["apiVersion"].startswith("ray.io/"):
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
        return
    check_ray_object(item)
    for pod in pods(item):
        kubernetes_validate.validate(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "a"} | pod["metadata"],
                "spec": pod["spec"],
            },
            KUBERNETES,
            strict=True,
        )


def check_ray_object(item: dict[str, Any]) -> None:
    """Check an object of KubeRay against its published schema."""
    path = RAY_SCHEMAS / f"ray.io_{item['kind'].lower()}s.yaml"
    if not path.exists():
        pytest.skip(f"KubeRay's schemas are not in {RAY_SCHEMAS}")
    validator(path).validate(item)


@cache
def validator(path: Path) -> jsonschema.Draft7Validator:
    definition = yaml.load(path.read_text(), yaml.CSafeLoader)  # a megabyte: the other loader takes seconds
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    return jsonschema.Draft7Validator(closed(version["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:
    """A schema that refuses the properties it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        shut.setdefault("additionalProperties", False)
    return shut


def cluster_spec(item: dict[str, Any]) -> dict[str, Any]:
    """The specification of the cluster in an object of KubeRay."""
    spec = item["spec"]
    if item["kind"] == "RayCronJob":
        spec = spec["jobTemplate"]
    return spec if item["kind"] == "RayCluster" else spec["rayClusterSpec"]


def pods(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The templates of its pods, the head's first."""
    spec = cluster_spec(item)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"] for group in groups]
