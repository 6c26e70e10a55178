"""Ray: started quietly where there is none, and one pass of images through the stages as rows.

A dead actor costs the batch that it held, once more after one repetition; whatever is lost that way is
missing from the rows, and the caller tries it again, each image alone.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import queue
import re
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import RunError, SettingsError, bounded_text
from pipeline.records.manifest import read_batches
from pipeline.settings import RunSettings
from pipeline.stages.batches import BLOCK_BYTES, Batch, EncodeAndStore, FetchAndDecode, Job, RestoreItems
from pipeline.stages.restoring import RestorerFactory
from pipeline.storage import Store, without_secrets

OBJECT_STORE_BYTES = 1 << 30
"""Of a Ray that we start: what is in flight between the stages lies in it."""
BATCH_ON_GPU, BATCH_ON_CPU = 32, 8
"""Most images in a batch: where one takes seconds, a batch that is lost with its process must not cost
minutes."""
MODELS_PER_IMAGE = 8
"""Models on CPUs for which a batch holds one image more. A batch is handed on as a whole, so that few models
show each image when it is ready; many of them would ask for more batches a second than one driver hands out.
"""
PATIENCE_TO_CONNECT = 5.0
"""Seconds for an address to answer."""
MEND_OF_NO_GPU = (
    "start a node that has them, or let a cluster that grows bring them (--gpu-minutes 20), "
    "or run without --gpus"
)
SERVING_CPUS = 2
"""Logical CPUs for the stages beside the model, on top of the model's own: they mostly wait."""
GROWTH = 4
"""Times the models that there are to begin with: what the stages beside them are prepared to serve."""
SERVED = 64
"""Images for which one more process beside the models is worth its start."""

_SWITCHES = {
    "RAY_AUTH_MODE": "disabled",  # or it leaves a token in the home, and asks for it later
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # or what still runs after the end of a session starts another Ray
}
_RETRIES = {"max_restarts": -1, "max_task_retries": 1}
"""A dead actor is started again; its batch is repeated once only, where Ray would do so without end."""
_WAITING_TABLES = 64
_PATIENCE = 5.0  # seconds in which a pass that is broken off may hand over what it holds
_KIND_OF_ERROR = re.compile(r"^[\w.]+(Error|Exception): ")


@dataclass(frozen=True)
class Machines:
    """What Ray has for the models.

    Attributes:
        workers: models at work at once, to begin with.
        most: models at work at once when more machines have come; None for as many as they hold.
        cpus, gpus: that each of them asks for; of a GPU that models share, a part.
    """

    workers: int
    most: int | None
    cpus: int
    gpus: float

    def models(self, batches: int) -> tuple[int, int]:
        """Models to begin with, and the most, for so many batches."""
        return min(self.workers, batches), min(self.most or batches, batches)

    def serving(self, images: int) -> int:
        """Most processes of each of the stages before and behind the models, for so many images."""
        models = self.most or GROWTH * self.workers
        room = 4 * models if self.gpus else min(models, max(SERVING_CPUS, models // 4))
        return min(room, math.ceil(images / SERVED))


@dataclass(frozen=True)
class Pass:
    """What goes through the stages at once.

    Attributes:
        parts: keys of pending inputs at the destination.
        images: how many they hold, at least one.
        group: most images in one batch.
        alone: no process is given a batch while it has another: what is lost has killed its process itself.
    """

    parts: Sequence[str]
    images: int
    group: int
    alone: bool = False

    @property
    def batches(self) -> int:
        """How many there are of them, about."""
        return math.ceil(self.images / self.group)


@contextlib.contextmanager
def ray_session(
    settings: RunSettings, address: str | None = None, keep_waiting: Callable[[], bool] = lambda: True
) -> Iterator[Machines]:
    """A Ray to run on: the one that is there, one at an address, or a new one on this machine that ends here.

    Args:
        settings: of the run.
        address: of a Ray, or None.
        keep_waiting: asked about once a second while GPUs are to come; after a no, the session goes without.

    Raises:
        SettingsError: there is none at the address, it does not fit, or lacks what the settings ask for.
        RunError: it does not start.
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
            with _silence(), _own_signals():
                ray.init(address or "local", **options)
        except (OSError, RuntimeError, ValueError, ConnectionError) as error:
            if address is not None:
                raise SettingsError(
                    f"no Ray at {address} that fits this one ({bounded_text(str(error))}): "
                    f"start one there with Ray {ray.__version__} and Python {platform.python_version()}"
                ) from error
            raise RunError(f"Ray does not start: {bounded_text(str(error))}") from error
    may_grow = not started or address is not None
    try:
        if not may_grow or _await_gpus(settings, keep_waiting):
            _require_gpus(settings)
        yield _machines(settings, may_grow=may_grow)
    finally:
        if started:
            ray.shutdown()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what Ray's native code prints at its start off the terminal; errors come as exceptions anyway."""
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


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the signal handlers that are there: Ray puts its own in their place when it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        return  # a protocol of Ray's own
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_TO_CONNECT).close()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"nothing answers at {address} ({error}): start Ray there, or check --address"
        ) from error


def _found_here() -> str:
    """What `auto` means: the Ray that was started last on this machine, whether or not it still runs."""
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    if ray.is_initialized():
        return "auto"
    try:
        return canonicalize_bootstrap_address("auto") or "auto"
    except (OSError, ValueError) as error:
        raise SettingsError(
            "no Ray runs on this machine: start one with `ray start --head`, or leave out --address auto"
        ) from error


def _await_gpus(settings: RunSettings, keep_waiting: Callable[[], bool]) -> bool:
    """Ask a cluster that grows for the GPUs that a run insists on; whether to insist on them now."""
    wanted, deadline = settings.gpus or 0, time.monotonic() + 60 * settings.gpu_minutes
    if _there("GPU") >= wanted or not settings.gpu_minutes:
        return True
    from ray.util.placement_group import placement_group, remove_placement_group

    demand = placement_group([{"GPU": 1}] * wanted)  # what every autoscaler heeds; it ends with this process
    try:
        while _there("GPU") < wanted and time.monotonic() < deadline:
            if not keep_waiting():
                return False
            time.sleep(1.0)
    finally:
        remove_placement_group(demand)
    return True


def _require_gpus(settings: RunSettings) -> None:
    """Raise SettingsError if there are fewer GPUs than a run insists on."""
    if (gpus := _there("GPU")) < (settings.gpus or 0):
        raise SettingsError(f"{gpus} GPUs are there and {settings.gpus} were asked for: {MEND_OF_NO_GPU}")


def _there(resource: str) -> int:
    """How many of something all nodes have together."""
    import ray

    return int(ray.cluster_resources().get(resource, 0))


def _machines(settings: RunSettings, *, may_grow: bool) -> Machines:
    cpus, gpus = _there("CPU"), _there("GPU")
    if gpus:
        room, cpus_each = gpus * settings.models_per_gpu, 1
        gpus_each = 1 / settings.models_per_gpu
    else:
        # Some CPUs stay for the stages beside the model. Where there are none, nodes are still to come.
        spare = SERVING_CPUS if cpus >= settings.threads + SERVING_CPUS else 1
        room = max(1, (cpus - spare) // settings.threads)
        cpus_each, gpus_each = min(settings.threads, cpus) or settings.threads, 0.0
    workers = min(settings.workers or room, room)
    return Machines(workers, settings.workers if may_grow else workers, cpus_each, gpus_each)


class ReadPending:
    """From keys of stored parts to the inputs in them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, batch: Batch) -> Iterator[pa.Table]:
        for part in batch["part"]:
            for rows in read_batches(self._store, str(part)):
                yield pa.Table.from_batches([rows])


def restored_rows(
    job: Job, work: Pass, factory: RestorerFactory, machines: Machines
) -> Iterator[pa.Table | None]:
    """Send inputs through the stages: rows as they come, None when none came for a second.

    Args:
        job: what the stages know.
        work: the inputs.
        factory: makes the restorer in each actor.
        machines: what there is for the models.

    Raises:
        RunError: the pass could not go on.
    """
    with _ray_data_context():
        with warnings.catch_warnings():
            # there is no other way yet to bound the retries
            warnings.simplefilter("ignore", DeprecationWarning)
            dataset = _dataset(job, work, factory, machines)
        tables: queue.Queue[pa.Table | BaseException | None] = queue.Queue(_WAITING_TABLES)
        over = threading.Event()
        thread = threading.Thread(target=_pump, args=(dataset, tables, over), name="rows", daemon=True)
        thread.start()
        try:
            while True:
                try:
                    table = tables.get(timeout=1.0)
                except queue.Empty:
                    yield None
                    continue
                if table is None:
                    return
                if isinstance(table, BaseException):
                    raise RunError(f"the run cannot go on: {_reason(table)}") from table
                yield table
        finally:
            over.set()
            thread.join(_PATIENCE)


def model_is_loaded() -> bool:
    """Whether a model of this session is ready: Ray calls an actor alive when its constructor is done."""
    import ray
    from ray._private import state  # what is public asks the dashboard, which is not there

    ours = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    try:
        alive = state.actors(job_id=ours, actor_state_name="ALIVE")
    except ray.exceptions.RaySystemError:
        return False  # through a client of Ray nobody can tell
    return any(RestoreItems.__name__ in actor["ActorClassName"] for actor in alive.values())


def _dataset(job: Job, work: Pass, factory: RestorerFactory, machines: Machines) -> Any:
    """The plan of one pass. Groups of images are formed before anything is fetched, mixed sizes together."""
    import ray.data

    models, most = machines.models(work.batches)
    serving = {"min_size": 1, "max_size": machines.serving(work.images)}
    waiting = {"max_tasks_in_flight_per_actor": 1} if work.alone else {}
    # The stages beside the model ask for no CPU: where models and tenths of stages take all of every node, as
    # on small nodes or after one has died, the regrouping would wait for a whole one for ever.
    # Reading is fast: one process is enough for it, and its memory, however many parts there are.
    one_at_a_time = ray.data.TaskPoolStrategy(size=1)
    grouped = (
        ray.data.from_items([{"part": part} for part in work.parts])
        .map_batches(ReadPending(job.dest).__call__, batch_size=1, num_cpus=0, compute=one_at_a_time)
        .repartition(target_num_rows_per_block=work.group)
    )
    regrouping = grouped._logical_plan.dag  # `repartition` has no arguments for these
    regrouping.ray_remote_args["num_cpus"] = 0
    regrouping.compute.size = one_at_a_time.size
    return (
        grouped.map_batches(
            FetchAndDecode,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(**serving, **waiting),
            num_cpus=0,
            **_RETRIES,
        )
        .map_batches(
            RestoreItems,
            fn_constructor_args=(factory,),
            batch_size=work.group if machines.gpus else None,  # Ray insists on one beside a GPU
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                min_size=models, max_size=most, **({"max_tasks_in_flight_per_actor": 2} | waiting)
            ),
            num_cpus=machines.cpus,
            num_gpus=machines.gpus,
            **_RETRIES,
        )
        .map_batches(
            EncodeAndStore,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(**serving, **waiting),
            num_cpus=0,
            **_RETRIES,
        )
    )


def _pump(dataset: Any, tables: queue.Queue[pa.Table | BaseException | None], over: threading.Event) -> None:
    """Consume a dataset into a queue; ends with None or with what went wrong."""
    last: BaseException | None = None
    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            while not over.is_set():
                with contextlib.suppress(queue.Full):
                    tables.put(table, timeout=0.5)
                    break
            if over.is_set():
                return
    except BaseException as error:
        last = error
    with contextlib.suppress(queue.Full):
        tables.put(last, timeout=60)


@contextlib.contextmanager
def _ray_data_context() -> Iterator[None]:
    """Ray Data's knobs for a pass, put back afterwards."""
    import ray.data

    context = ray.data.DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "max_errored_blocks": -1,  # a block whose process dies twice costs its own rows; they are tried again
        "target_max_block_size": BLOCK_BYTES,
    }
    before = {name: getattr(context, name) for name in wanted}
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name, value in wanted.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def _reason(error: BaseException) -> str:
    """The innermost reason of an error that came through Ray, in one line: the last one of its traceback."""
    while isinstance(inner := getattr(error, "cause", None), BaseException):
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = _KIND_OF_ERROR.sub("", lines[-1]) if lines else type(error).__name__
    return bounded_text(without_secrets(last))


def images_per_batch(settings: RunSettings, pending: int, machines: Machines) -> int:
    """Images in one batch: few enough that every worker has something to do, and more than once."""
    on_cpu = min(BATCH_ON_CPU, (machines.most or machines.workers) // MODELS_PER_IMAGE)
    most = settings.batch or (BATCH_ON_GPU if machines.gpus else on_cpu)
    return max(1, min(most, pending // (4 * machines.workers)))
