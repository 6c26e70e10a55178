"""Watching: a real Prometheus scrapes a run, and every query of the dashboard and the alerts answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from servers import free_ports

from pipeline.records.manifest import STAGES

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "cluster" / "monitoring"
STAND_IN = ROOT / "tests" / "pipeline"
IMAGES, SIDE, SECONDS = 400, 16, 0.2
"""How many, their width in pixels, and what the stand-in takes for one."""
BROKEN, NFE = 240, 4
"""Of the stand-in: a gray level that makes it fail, and what it says that an image took."""
DEADLINE = 150.0

RUN = """
import os, sys
import ray
from standin import StandIn
from jobs.views.progress import stop_on_signals
from pipeline import RunSettings, restore_dataset

if __name__ == "__main__":
    source, dest, port, seconds = sys.argv[1:]
    ray.init(
        "local",
        num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20,
        _metrics_export_port=int(port), _system_config={"metrics_report_interval_ms": 1000},
    )
    with stop_on_signals() as stop:
        settings = RunSettings(batch=1, workers=1, flush_seconds=0.5)
        stand_in = StandIn(seconds=float(seconds))
        summary = restore_dataset(source, dest, settings, stop=stop, restorer_factory=stand_in)
    ray.shutdown()
    sys.exit(summary.exit_status)
"""


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((MONITORING / "grafana" / "dashboard.json").read_text())
    return list(dashboard["panels"])


def dashboard_queries() -> dict[str, str]:
    """Its queries by panel, for all runs."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$run", ".*")
        for panel in panels()
        for target in panel["targets"]
    }


def rules() -> list[dict[str, Any]]:
    return [
        rule
        for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
        for rule in group["rules"]
    ]


def alert_queries() -> dict[str, str]:
    """What the alerts ask, with comparisons that answer no as well as yes."""
    return {
        rule["alert"]: re.sub(r" (<=|<|>) ", r" \1 bool ", rule["expr"])
        for rule in rules()
        if "alert" in rule
    }


def shortened(query: str) -> str:
    """A query over seconds instead of minutes and hours, or the test would take as long."""
    query = re.sub(r"\[\d+[mh](?: offset \d+m)?\]", "[8s]", query)
    return re.sub(r"offset \d+m", "offset 2s", query)


def test_every_panel_has_a_title_a_query_and_a_place_of_its_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places) > 8
    assert all(panel["title"] and panel["targets"] for panel in panels())


def promtool() -> str:
    if (found := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed: Debian has it in its package prometheus")
    return found


def test_alerts_are_due_when_they_should_be_and_not_before() -> None:
    done = subprocess.run(
        [promtool(), "test", "rules", "rules_test.yaml"], cwd=MONITORING, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    (tests,) = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())["tests"]
    tested = {each["alertname"] for each in tests["alert_rule_test"] if each["exp_alerts"]}
    assert tested == set(alert_queries())


def test_compose_mounts_files_that_are_there() -> None:
    services = yaml.safe_load((MONITORING / "compose.yaml").read_text())["services"]
    sources = [mount.split(":")[0] for service in services.values() for mount in service["volumes"]]
    files = [source for source in sources if source.startswith("./")]
    assert len(files) == 5
    assert all((MONITORING / file).is_file() for file in files)


@pytest.fixture(scope="module")
def metrics_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port at which a run under way tells its metrics."""
    tmp_path = tmp_path_factory.mktemp("run")
    (tmp_path / "source").mkdir()
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 200, (SIDE, SIDE, 3), dtype=np.uint8)
        if number % 10 == 0:
            pixels[0, 0] = BROKEN
        Image.fromarray(pixels).save(tmp_path / "source" / f"{number:03d}.png")
    [port] = free_ports(1)
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(STAND_IN)])
    arguments = map(str, (tmp_path / "source", tmp_path / "dest", port, SECONDS))
    command = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        yield port
        assert command.poll() is None, "the run was over before it was looked at"
    finally:
        command.send_signal(signal.SIGTERM)
        try:
            command.wait(60)
        finally:
            command.kill()


def samples(port: int) -> dict[str, list[Any]]:
    """What the metrics port tells of ours, by name; nothing while Ray starts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except OSError:
        return {}
    found = [sample for family in families for sample in family.samples if sample.name.startswith("ray_i2r_")]
    return {
        name: [sample for sample in found if sample.name == name] for name in {each.name for each in found}
    }


def test_a_run_tells_what_the_dashboard_shows(metrics_port: int) -> None:
    shown = set(re.findall(r"ray_i2r_\w+", " ".join(dashboard_queries().values())))
    deadline = time.monotonic() + DEADLINE
    while not shown <= set(told := samples(metrics_port)):
        assert time.monotonic() < deadline, f"not told: {shown - set(told)}"
        time.sleep(0.5)
    assert set(told) - shown <= {
        f"ray_i2r_{name}_{part}" for name in ("nfe", "stage_seconds") for part in ("bucket", "sum")
    }
    assert {sample.labels["stage"] for sample in told["ray_i2r_stage_seconds_count"]} == set(STAGES)
    assert {sample.labels["status"] for sample in told["ray_i2r_images_total"]} == {"restored", "failed"}
    assert {sample.labels["direction"] for sample in told["ray_i2r_bytes_total"]} == {"in", "out"}
    assert all(sample.value > 1 << 20 for sample in told["ray_i2r_device_memory_bytes"])
    (busy,), (pixels,) = told["ray_i2r_device_busy_seconds_total"], told["ray_i2r_device_pixels_total"]
    assert busy.value >= SECONDS * (pixels.value / SIDE**2 - 1)  # one may be on its way here, too
    (evaluations,), (images,) = told["ray_i2r_evaluations_total"], told["ray_i2r_nfe_count"]
    assert abs(evaluations.value - NFE * images.value) <= NFE  # one may be on its way between the two


@pytest.fixture
def prometheus(tmp_path: Path, metrics_port: int) -> Iterator[str]:
    """The address of a Prometheus with our configuration and rules, in a hurry."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("prometheus is not installed: Debian has it in its package of that name")
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{metrics_port}"]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "rules.yaml").write_text(shortened((MONITORING / "rules.yaml").read_text()))
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    options = [f"--config.file={tmp_path}/prometheus.yaml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "prometheus.log").open("w") as log:
        server = subprocess.Popen([found, *options, f"--web.listen-address={address}"], stderr=log)
        try:
            yield f"http://{address}"
        finally:
            server.terminate()
            server.wait(30)


def ask(prometheus: str, query: str) -> list[Any]:
    """The series that answer a query; none while Prometheus starts."""
    try:
        with urllib.request.urlopen(
            f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10
        ) as answer:
            return list(json.load(answer)["data"]["result"])
    except ConnectionError:
        return []
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return []
        raise AssertionError(f"{query}: {error.read().decode()}") from error
    except urllib.error.URLError:
        return []


def test_every_query_answers_while_a_run_is_under_way(prometheus: str) -> None:
    recorded = {rule["record"]: rule["record"] for rule in rules() if "record" in rule}
    waiting = {
        name: shortened(query) for name, query in (dashboard_queries() | alert_queries() | recorded).items()
    }
    assert len(waiting) > 15
    deadline = time.monotonic() + DEADLINE
    while waiting:
        assert time.monotonic() < deadline, f"no series for {waiting}"
        waiting = {name: query for name, query in waiting.items() if not ask(prometheus, query)}
        time.sleep(0.5)
    states = {
        series["metric"]["state"]: float(series["value"][1])
        for series in ask(prometheus, "ray_i2r_run_images")
    }
    assert states["done"] + states["left"] == IMAGES
    assert 0 < states["failed"] < states["done"]
