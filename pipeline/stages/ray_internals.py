"""What is asked of Ray that it offers to nobody: each with the reason why no public way does.

Ray may change any of it in any version: then one line says so, and the versions that pyproject.toml names are
the way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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


def address_of_local_ray() -> str | None:
    """Of the Ray that was started last on this machine, whether or not it still runs; None if none was.

    `ray.init("auto")` would try to reach it for minutes.
    """
    with _known("find the Ray of this machine"):
        from ray._private.services import canonicalize_bootstrap_address

        try:
            return canonicalize_bootstrap_address("auto")
        except (OSError, ValueError):
            return None


def is_alive(actor: str) -> bool:
    """Whether an actor of this job, of a class that is named so, has its constructor behind it.

    What is public (`ray.util.state`) asks the dashboard, which a Ray on one machine does not have. Through a
    client of Ray nobody can tell: then it is none.
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


def regroup(dataset: Dataset, rows: int) -> Dataset:
    """Blocks of so many rows, made by one process that asks for no CPU.

    Where models and stages take all CPUs of every node, as on small nodes or after one has died, it would
    wait for a whole one for ever; `Dataset.repartition` has no arguments for either.
    """
    regrouped = dataset.repartition(target_num_rows_per_block=rows)
    with _known("plan a repartition"):
        plan = regrouped._logical_plan.dag
        plan.ray_remote_args["num_cpus"] = 0
        _ = plan.compute.size  # or setting it would change nothing
        plan.compute.size = 1
    return regrouped
