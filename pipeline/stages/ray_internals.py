"""Uses of Ray's private interfaces, each with the reason why no public one will do.

Ray may change them in any version. Then an error says so in one line; install a version of Ray that
pyproject.toml allows.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import RunError

if TYPE_CHECKING:
    from ray.data import Dataset


@contextmanager
def _known(what: str) -> Iterator[None]:
    import ray

    try:
        yield
    except (ImportError, AttributeError, TypeError) as error:
        raise RunError(
            f"Ray {ray.__version__} no longer lets us {what} as we know it ({error}): "
            "install a version that this program was tested with"
        ) from error


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep the signal handlers while Ray starts.

    Its own would end the process at a SIGTERM, with that status and without a record: they are set by
    `ray.init`, and no option of it leaves them out.
    """
    with _known("keep our signal handlers"):
        from ray._private import utils

        theirs = utils.set_sigterm_handler
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    utils.set_sigterm_handler = _ignore
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(_handler: object) -> None:
    """Set no handler."""


def address_of_local_ray() -> str | None:
    """The address of the Ray started last on this machine, even if it no longer runs; None if there is none.

    `ray.init("auto")` would try to reach a dead one for minutes.
    """
    with _known("find the Ray of this machine"):
        from ray._private.services import canonicalize_bootstrap_address

        try:
            return canonicalize_bootstrap_address("auto")
        except (OSError, ValueError):
            return None


def is_alive(actor: str) -> bool:
    """Whether an actor of this job whose class has this name has finished its constructor.

    The public `ray.util.state` asks the dashboard, which our Ray on one machine does not start. Through a Ray
    client the state cannot be read: then it returns False.
    """
    import ray

    with _known("look at its actors"):
        from ray._private import state

        ours = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
        try:
            alive = state.actors(job_id=ours, actor_state_name="ALIVE")
        except ray.exceptions.RaySystemError:
            return False
        return any(actor in known["ActorClassName"] for known in alive.values())


def map_blocks(dataset: Dataset, stage: type, **options: Any) -> Dataset:
    """Apply a stage to each block of a dataset as it is, also with a GPU.

    `Dataset.map_batches` wants a number of rows where a GPU is asked for, and puts blocks together until they
    have it, however many bytes that is.
    """
    with _known("map blocks on a GPU"):
        return dataset.map_batches_internal(stage, batch_size=None, **options)


def regroup(dataset: Dataset, rows: int, *, processes: int = 1, **options: Any) -> Dataset:
    """Repartition a dataset into blocks of `rows` rows, in so many processes with these options of Ray.

    `Dataset.repartition` has no arguments for them. It would request a whole CPU, and wait forever where
    models take all CPUs of every node, as on small nodes or after a node died.
    """
    regrouped = dataset.repartition(target_num_rows_per_block=rows)
    with _known("plan a repartition"):
        plan = regrouped._logical_plan.dag
        plan.ray_remote_args.update(options)
        _ = plan.compute.size  # fails if Ray renames it; setting alone would go unnoticed
        plan.compute.size = processes
    return regrouped
