"""Metrics of a run, exported through Ray: Prometheus scrapes them from every node.

Each process counts for itself, and a batch that is retried after its process died is counted again. So these
metrics show how the work proceeds; the manifest records its results. Ray puts `ray_` before every name and
`_total` after the names of counters. Dashboards and alerts on them are in `cluster/monitoring`.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from typing import Any

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
EVALUATIONS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class RowTelemetry:
    """Counts images as their rows are made: `i2r_images`, `i2r_findings`, `i2r_pixels`, `i2r_bytes`,
    `i2r_stage_seconds`, `i2r_nfe`.

    Ray computes the sums of its histograms from the middles of the buckets, so counters hold the exact sums:
    `i2r_busy_seconds` and `i2r_evaluations`.
    """

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Histogram

        self._images = Counter("i2r_images", "Images that ended, by status.", ("status",))
        self._failures = Counter("i2r_failures", "Images that failed, by error code.", ("error_code",))
        self._findings = Counter(
            "i2r_findings", "Images by what was found and what came of it.", ("what", "action")
        )
        self._pixels = Counter("i2r_pixels", "Pixels of the images that ended and could be decoded.")
        self._bytes = Counter("i2r_bytes", "Bytes read from sources and stored.", ("direction",))
        self._seconds = Histogram(
            "i2r_stage_seconds", "Seconds that an image spent in a stage.", list(SECONDS), ("stage",)
        )
        self._busy = Counter("i2r_busy_seconds", "Seconds that images spent in a stage, summed.", ("stage",))
        self._evaluations = Counter("i2r_evaluations", "Evaluations of the network, summed.")
        self._nfe = Histogram("i2r_nfe", "Evaluations of the network for an image.", list(EVALUATIONS))

    def record(self, row: Mapping[str, Any], stored: int = 0) -> None:
        """Count an image.

        Args:
            row: of the manifest.
            stored: bytes of its output.
        """
        self._images.inc(1, {"status": row["status"]})
        if code := row.get("error_code"):
            self._failures.inc(1, {"error_code": code})
        for found in row.get("findings") or ():
            self._findings.inc(1, {"what": found["what"], "action": found["action"]})
        if pixels := (row.get("width") or 0) * (row.get("height") or 0):
            self._pixels.inc(float(pixels))
        for direction, count in (("in", row.get("source_size") or 0), ("out", stored)):
            if count > 0:
                self._bytes.inc(float(count), {"direction": direction})
        for stage, seconds in (row.get("timings") or {}).items():
            self._seconds.observe(seconds, {"stage": stage})
            if seconds > 0:
                self._busy.inc(seconds, {"stage": stage})
        if (nfe := row.get("nfe")) is not None:
            self._nfe.observe(float(nfe))
            if nfe > 0:
                self._evaluations.inc(float(nfe))


class DeviceTelemetry:
    """Reports what a model's process does: `i2r_device_pixels`, `i2r_device_busy_seconds`, and
    `i2r_device_memory_bytes`, the peak memory of its GPU, or without one of the host.

    Args:
        device: the device's name.
    """

    def __init__(self, device: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._pixels = Counter("i2r_device_pixels", "Pixels that a model has handled.", ("device",))
        self._busy = Counter("i2r_device_busy_seconds", "Seconds in which a model computes.", ("device",))
        self._memory = Gauge(
            "i2r_device_memory_bytes", "Most memory that a model's process has taken so far.", ("device",)
        )
        for metric in (self._pixels, self._busy, self._memory):
            metric.set_default_tags({"device": device})

    def add(self, pixels: int, seconds: float) -> None:
        """Count pixels that the model has handled, and the seconds that it took."""
        self._pixels.inc(float(pixels))
        self._busy.inc(seconds)

    def record(self) -> None:
        """Report the memory now."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            self._memory.set(torch.cuda.max_memory_reserved())
        else:
            self._memory.set(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class RunTelemetry:
    """Reports the progress of a run from its driver: `i2r_run_images` by state `done`, `failed`,
    `new_failed`, `carried_failed` and `left`, `i2r_run_repeated_requests`, and `i2r_run_nodes_out`.

    Unlike the counters of the stages it counts no image twice. `left` is the length of the queue.

    Args:
        run_id: of the run.
    """

    def __init__(self, run_id: str) -> None:
        from ray.util.metrics import Gauge

        self._images = Gauge("i2r_run_images", "Inputs of a run, by state.", ("run", "state"))
        self._repeated = Gauge(
            "i2r_run_repeated_requests", "Requests of a run to storage that were repeated.", ("run",)
        )
        self._out = Gauge("i2r_run_nodes_out", "Nodes of a run that get no more images.", ("run",))
        self._run_id = run_id

    def record(self, states: Mapping[str, int], repeated: int, out: int) -> None:
        """Report images by state, of which `done` includes `failed` and that `new_failed`, but not
        `carried_failed`; the number of repeated requests, and of nodes that are out."""
        self._repeated.set(repeated, {"run": self._run_id})
        self._out.set(out, {"run": self._run_id})
        for state, number in states.items():
            self._images.set(number, {"run": self._run_id, "state": state})
