"""One pass of images through the stages on Ray Data, as rows.

A dead actor costs the batch that it held, once more after one repetition; whatever is lost that way is
missing from the rows, and the caller tries it again, each image alone.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import RunError, bounded_text
from pipeline.records.manifest import read_batches
from pipeline.redaction import without_secrets
from pipeline.settings import RunSettings
from pipeline.stages import ray_internals
from pipeline.stages.batches import BLOCK_BYTES, Batch, EncodeAndStore, FetchAndDecode, Job, RestoreItems
from pipeline.stages.restoring import RestorerFactory
from pipeline.stages.session import Machines
from pipeline.storage import Store

BATCH_ON_GPU, BATCH_ON_CPU = 32, 8
"""Most images in a batch: where one takes seconds, a batch that is lost with its process must not cost
minutes."""
MODELS_PER_IMAGE = 8
"""Models on CPUs for which a batch holds one image more. A batch is handed on as a whole, so that few models
show each image when it is ready; many of them would ask for more batches a second than one driver hands out.
"""

_RETRIES = {"max_restarts": -1, "max_task_retries": 1}
"""A dead actor is started again; its batch is repeated once only, where Ray would do so without end."""
_WAITING_TABLES = 64
_PATIENCE = 5.0  # seconds in which a pass that is broken off may hand over what it holds
_KIND_OF_ERROR = re.compile(r"^[\w.]+(Error|Exception): ")


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
    return ray_internals.is_alive(RestoreItems.__name__)


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
    pending = ray.data.from_items([{"part": part} for part in work.parts]).map_batches(
        ReadPending(job.dest).__call__, batch_size=1, num_cpus=0, compute=one_at_a_time
    )
    return (
        ray_internals.regroup(pending, work.group)
        .map_batches(
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
