"""Runs one function over many parts, in this process or on all machines of the cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

CPUS_PER_TASK = 0.5
"""CPUs that a task requests: it mostly waits for the store."""
RETRIES = 3

Result = TypeVar("Result")


def scattered(
    function: Callable[..., Iterator[Result]], calls: Iterable[tuple[Any, ...]], *, on_cluster: bool
) -> Iterator[Result]:
    """Yield what a generator function yields for each tuple of arguments, in any order.

    Args:
        function: a generator function; on a cluster, all results of one call must fit into memory together.
        calls: arguments of each call.
        on_cluster: send the calls to the Ray that is initialised, a bounded number at a time.
    """
    if not on_cluster:
        for arguments in calls:
            yield from function(*arguments)
        return
    import ray

    task = ray.remote(num_cpus=CPUS_PER_TASK, max_retries=RETRIES)(_gathered)
    most = max(2, int(ray.cluster_resources().get("CPU", 1) / CPUS_PER_TASK))
    running: list[Any] = []
    for arguments in calls:
        running.append(task.remote(function, arguments))
        if len(running) >= most:
            done, running = ray.wait(running, num_returns=1)
            yield from ray.get(done[0])
    while running:
        done, running = ray.wait(running, num_returns=1)
        yield from ray.get(done[0])


def ray_is_here() -> bool:
    """Whether this process is connected to a Ray; does not import Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _gathered(function: Callable[..., Iterator[Result]], arguments: tuple[Any, ...]) -> list[Result]:
    return list(function(*arguments))
