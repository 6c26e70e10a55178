"""The files for `ray up`, against the schema that ships with Ray and closed ones of our own for the nodes."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

NODE_KEYS = {"min_workers", "max_workers", "resources", "node_config", "labels", "worker_setup_commands"}
RAY_UP = Path(__file__).parents[2] / "cluster" / "ray-up"


@pytest.fixture(scope="module")
def schema() -> Any:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.submodule_search_locations
    return json.loads(
        (Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json").read_text()
    )


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_file_is_what_ray_up_takes(cloud: str, schema: Any) -> None:
    content = yaml.safe_load((RAY_UP / f"{cloud}.yaml").read_text())
    jsonschema.validate(content, schema)
    assert content["provider"]["type"] == cloud
    head, workers = content["available_node_types"]["head"], content["available_node_types"]["gpu"]
    assert content["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert 1 <= workers["min_workers"] <= workers["max_workers"] <= content["max_workers"]
    assert set(head) | set(workers) <= NODE_KEYS


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_nodes_are_spot_and_take_their_identity_from_the_cloud(cloud: str) -> None:
    text = (RAY_UP / f"{cloud}.yaml").read_text()
    types = yaml.safe_load(text)["available_node_types"]
    assert "spot" not in str(types["head"]).lower()
    assert "spot" in str(types["gpu"]).lower()
    for kind in types.values():
        assert {"IamInstanceProfile", "serviceAccounts"} & set(kind["node_config"])
    assert "PRIVATE KEY" not in text
    assert "AKIA" not in text


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_ray_knows_the_options_that_it_is_started_with(cloud: str) -> None:
    from ray.scripts.scripts import start

    known = {name for parameter in start.params for name in parameter.opts}
    content = yaml.safe_load((RAY_UP / f"{cloud}.yaml").read_text())
    for command in (content["head_start_ray_commands"][1], content["worker_start_ray_commands"][1]):
        options = {word.partition("=")[0] for word in shlex.split(command) if word.startswith("--")}
        assert options
        assert options <= known


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_nodes_pull_the_image_from_a_registry_that_they_may_read(cloud: str) -> None:
    content = yaml.safe_load((RAY_UP / f"{cloud}.yaml").read_text())
    registry, _, name = content["docker"]["image"].partition("/")
    assert "." in registry
    assert name.endswith(f"invert2restore:{version('invert2restore')}-gpu")
    assert any(registry in command for command in content["initialization_commands"])
    for command in content["initialization_commands"]:
        subprocess.run(["sh", "-n", "-c", command], check=True)
