"""The Ray of a run and its resources: one already initialised, one at an address, or a new one here."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import RunError, SettingsError, bounded_text
from pipeline.settings import RunSettings
from pipeline.stages import ray_internals

OBJECT_STORE_BYTES = 1 << 30
"""Size of the object store of a Ray that we start; it holds the blocks between the stages."""
PATIENCE_TO_CONNECT = 5.0
"""Seconds to wait for an address to answer."""
GPU_ADVICE = (
    "start a node that has them, or let a cluster that grows bring them (--gpu-minutes 20), "
    "or run without --gpus"
)
SERVING_CPUS = 2
"""Logical CPUs for the stages other than the model, besides the model's own: they mostly wait."""
GROWTH = 4
"""Assumed growth of a cluster during a run: the other stages can serve this many times its first models."""
SERVED = 64
"""Images per process of the other stages: fewer are not worth the start of one more."""
_SWITCHES = {
    "RAY_AUTH_MODE": "disabled",  # otherwise it leaves a token in the home folder, and requires it later
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # otherwise code that runs after the session starts another Ray
}


@dataclass(frozen=True)
class Machines:
    """CPUs and GPUs that Ray has for the models.

    Attributes:
        workers: models at work at once at the start.
        most: most models at work at once when the cluster has grown; None for as many as it holds.
        cpus: of each model, one for each of its threads.
        gpus: that each model requests; a fraction if models share a GPU.
        memory: bytes for processes on each node that has CPUs, by its id in Ray.
    """

    workers: int
    most: int | None
    cpus: int
    gpus: float
    memory: Mapping[str, int] = field(default_factory=dict)

    def models(self, batches: int, need: int = 0) -> tuple[int, int]:
        """Number of models at the start, and the most, for a number of batches.

        Args:
            batches: of all images.
            need: bytes of the host's memory that a model takes at least; 0 if it is not known.
        """
        room = batches if self.gpus else min(batches, self._room(need))
        if self.most is None or self.most > self.workers:
            return min(self.workers, room), min(self.most or batches, batches)
        return min(self.workers, room), min(self.most, room)

    def serving(self, images: int, need: int = 0) -> int:
        """Most processes for each of the stages before and after the model, for a number of images.

        Args:
            images: of the pass.
            need: bytes of memory that one process of each stage take together; 0 if it is not known.
        """
        growth = 1 if self.most == self.workers else GROWTH
        models = self.most or growth * self.workers
        room = 4 * models if self.gpus else min(models, max(SERVING_CPUS, models // 4))
        return min(room, math.ceil(images / SERVED), growth * self._room(self.request(need)))

    def request(self, need: int) -> int:
        """Bytes of memory to request for processes that take `need`: no more than any node surely has."""
        return min(need, min(self.memory.values(), default=0) // 2)

    def _room(self, need: int) -> int:
        """How many processes that take `need` bytes the nodes hold, at least one."""
        return max(1, sum(there // need for there in self.memory.values())) if need else sys.maxsize

    def without(self, nodes: Collection[str]) -> Machines | None:
        """What is left without some nodes, given their ids in Ray; None if no model has a place there."""
        import ray

        left = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in nodes]
        memory = {node: there for node, there in self.memory.items() if node not in nodes}
        kind, each = ("GPU", self.gpus) if self.gpus else ("CPU", self.cpus)
        room = sum(int(node["Resources"].get(kind, 0) / each) for node in left)
        if not room:
            return None
        workers = min(self.workers, room)
        most = workers if self.most == self.workers else self.most
        return replace(self, workers=workers, most=most, memory=memory)


@contextlib.contextmanager
def ray_session(
    settings: RunSettings, address: str | None = None, keep_waiting: Callable[[], bool] = lambda: True
) -> Iterator[Machines]:
    """Connect to Ray as `connection` does, and request the GPUs that the settings require.

    Args:
        settings: of the run.
        address: of a Ray, or None.
        keep_waiting: called about once a second while it waits for GPUs; after False it goes on without them.

    Raises:
        SettingsError: as `connection`, or Ray lacks the GPUs that the settings require.
        RunError: Ray does not start.
    """
    with connection(settings, address) as may_grow:
        if not may_grow or _await_gpus(settings, keep_waiting):
            _require_gpus(settings)
        yield _machines(settings, may_grow=may_grow)


@contextlib.contextmanager
def connection(settings: RunSettings, address: str | None = None) -> Iterator[bool]:
    """Use the Ray that is initialised, or connect to one at an address, or start one on this machine.

    It yields whether this Ray may get more nodes. On exit it disconnects from Ray, or ends the one that it
    started; a Ray that was initialised before stays.

    Raises:
        SettingsError: no Ray answers at the address, or its version does not fit.
        RunError: Ray does not start.
    """
    if address is not None:
        require_listener(address)
    os.environ.update({name: value for name, value in _SWITCHES.items() if name not in os.environ})
    import ray

    started = not ray.is_initialized()
    if started:
        cores = len(os.sched_getaffinity(0))
        workers = settings.workers or max(1, cores // settings.threads)
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address is None:
            options |= {"num_cpus": workers * settings.threads + SERVING_CPUS, "include_dashboard": False}
            options |= {"object_store_memory": OBJECT_STORE_BYTES}
        try:
            with _silence(), ray_internals.own_signals():
                ray.init(address or "local", **options)
        except (OSError, RuntimeError, ValueError, ConnectionError) as error:
            if address is not None:
                raise SettingsError(
                    f"no Ray at {address} that fits this one ({bounded_text(str(error))}): "
                    f"start one there with Ray {ray.__version__} and Python {platform.python_version()}"
                ) from error
            raise RunError(f"Ray does not start: {bounded_text(str(error))}") from error
    try:
        yield not started or address is not None
    finally:
        if started:
            ray.shutdown()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide what Ray's native code prints when it starts; errors are raised as exceptions anyway."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def require_listener(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for minutes. Raises SettingsError."""
    if address.startswith(("http://", "https://")):
        raise SettingsError(
            f"{address} takes submitted jobs: use `i2r submit`, or give Ray's own HOST:PORT here"
        )
    if address == "auto":
        address = _found_here()
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address:
        return  # an address with a protocol of Ray's own
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_TO_CONNECT).close()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"nothing answers at {address} ({error}): start Ray there, or check --address"
        ) from error


def _found_here() -> str:
    """The address that `auto` means: of the Ray started last on this machine, even if it no longer runs."""
    import ray

    if ray.is_initialized():
        return "auto"
    if (address := ray_internals.address_of_local_ray()) is None:
        raise SettingsError(
            "no Ray runs on this machine: start one with `ray start --head`, or leave out --address auto"
        )
    return address


def _await_gpus(settings: RunSettings, keep_waiting: Callable[[], bool]) -> bool:
    """Request a run's GPUs from a cluster that grows, and wait. Returns False if the run must stop."""
    wanted, deadline = settings.gpus or 0, time.monotonic() + 60 * settings.gpu_minutes
    if _there("GPU") >= wanted or not settings.gpu_minutes:
        return True
    from ray.util.placement_group import placement_group, remove_placement_group

    demand = placement_group([{"GPU": 1}] * wanted)  # every autoscaler heeds it; it ends with this process
    try:
        while _there("GPU") < wanted and time.monotonic() < deadline:
            if not keep_waiting():
                return False
            time.sleep(1.0)
    finally:
        remove_placement_group(demand)
    return True


def _require_gpus(settings: RunSettings) -> None:
    """Raise SettingsError if there are fewer GPUs than a run requires."""
    if (gpus := _there("GPU")) < (settings.gpus or 0):
        raise SettingsError(f"{gpus} GPUs are there and {settings.gpus} were asked for: {GPU_ADVICE}")


def _there(resource: str) -> int:
    """How much of a resource all nodes have together."""
    import ray

    return int(ray.cluster_resources().get(resource, 0))


def _memory() -> dict[str, int]:
    """Bytes for processes on each node that has CPUs, by its id: what Ray found free when it started."""
    import ray

    alive = (node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
    return {node["NodeID"]: int(node["Resources"].get("memory", 0)) for node in alive}


def _machines(settings: RunSettings, *, may_grow: bool) -> Machines:
    cpus, gpus = _there("CPU"), _there("GPU")
    if gpus:
        room, cpus_each = gpus * settings.models_per_gpu, 1
        gpus_each = 1 / settings.models_per_gpu
    else:
        # Some CPUs are left for the other stages. A cluster without CPUs has no worker nodes yet.
        spare = SERVING_CPUS if cpus >= settings.threads + SERVING_CPUS else 1
        room = max(1, (cpus - spare) // settings.threads)
        cpus_each, gpus_each = min(settings.threads, cpus) or settings.threads, 0.0
    workers = min(settings.workers or room, room)
    most = settings.workers if may_grow else workers
    return Machines(workers, most, cpus_each, gpus_each, _memory())
