"""Sends images through the stages on Ray Data once, and yields their rows.

If an actor dies, its batch is tried once more. If an actor dies again, the images of the batch have no rows:
the caller tries each of them again, alone.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import queue
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import RunError, bounded_text
from pipeline.records.manifest import read_batches
from pipeline.settings import RunSettings
from pipeline.stages import ray_internals
from pipeline.stages.batches import BLOCK_BYTES, Batch, EncodeAndStore, FetchAndDecode, Job, RestoreItems
from pipeline.stages.needs import LEFT_CPUS, STAGE_CPUS, model_bytes, serving_bytes
from pipeline.stages.restoring import RestorerFactory
from pipeline.stages.session import Machines
from pipeline.stages.tables import ReadTables
from pipeline.storage.redaction import without_secrets
from pipeline.storage.store import Store

BATCH_ON_GPU, BATCH_ON_CPU = 32, 8
"""Most images in a batch: where an image takes seconds, a batch whose process dies must not cost minutes."""
MODELS_PER_IMAGE = 8
"""Models on CPUs per image of a batch: a batch holds one image for every so many models.

Images of a batch are passed on together. With few models, batches of one image show each image as soon as it
is ready; many models would then need more batches a second than one driver can schedule.
"""

NODE_LABEL = "ray.io/node-id"
"""Ray's own label of a node: its id."""
_RETRIES = {"max_restarts": -1, "max_task_retries": 1}
"""Ray restarts a dead actor, and retries its batch only once: by default it would retry without end."""
_WAITING_TABLES = 64
_PATIENCE = 5.0  # seconds to wait for the reading thread when a pass ends early
_KIND_OF_ERROR = re.compile(r"^[\w.]+(Error|Exception): ")


@dataclass(frozen=True)
class Pass:
    """Inputs that are sent through the stages together.

    Attributes:
        parts: keys of the stored pending inputs at the destination.
        images: how many inputs they hold, at least one.
        group: most images in one batch.
        alone: give a process one batch at a time, so that an image without a row killed its process itself.
        without: Ray's ids of nodes that are given none of it.
        pixels: bytes of the pixels of an image that is larger than most of them; 0 if it is not known.
        in_tables: whether images in rows of tables are read before they are given to decoders.
    """

    parts: Sequence[str]
    images: int
    group: int
    alone: bool = False
    without: frozenset[str] = frozenset()
    pixels: int = 0
    in_tables: bool = False

    @property
    def batches(self) -> int:
        """Approximate number of batches."""
        return math.ceil(self.images / self.group)


class ReadPending:
    """Stage that reads the inputs in stored parts, given their keys."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, batch: Batch) -> Iterator[pa.Table]:
        for part in batch["part"]:
            for rows in read_batches(self._store, str(part)):
                yield pa.Table.from_batches([rows])


def restored_rows(
    job: Job, work: Pass, factory: RestorerFactory, machines: Machines
) -> Iterator[pa.Table | None]:
    """Send inputs through the stages. Yields rows as they come, and None after each second without any.

    Args:
        job: what the stages are given.
        work: the inputs.
        factory: makes the restorer in each actor.
        machines: CPUs and GPUs for the models.

    Raises:
        RunError: the pass could not go on.
    """
    with _ray_data_context(work.without):
        with warnings.catch_warnings():
            # Ray warns of `_RETRIES`, and there is no other way yet to bound the retries
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
    """The Ray dataset of one pass. Batches are formed before fetching, so image sizes are mixed."""
    import ray.data

    models, most = machines.models(work.batches, model_bytes(work.pixels))
    need = serving_bytes(work.pixels, job.settings)
    serving = {"min_size": 1, "max_size": machines.serving(work.images, need)}
    waiting = {"max_tasks_in_flight_per_actor": 1} if work.alone else {}
    decoded = _inputs(job, work, serving).map_batches(
        FetchAndDecode,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(**serving, **waiting),
        num_cpus=STAGE_CPUS,
        memory=machines.request(need),  # of the encoder as well: if both asked, each could wait for the other
        **_RETRIES,
    )
    restored = ray_internals.map_blocks(
        decoded,
        RestoreItems,
        fn_constructor_args=(factory,),
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=models, max_size=most, **({"max_tasks_in_flight_per_actor": 2} | waiting)
        ),
        num_cpus=machines.cpus - LEFT_CPUS,
        num_gpus=machines.gpus,
        **_RETRIES,
    )
    return restored.map_batches(
        EncodeAndStore,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(**serving, **waiting),
        num_cpus=STAGE_CPUS,
        **_RETRIES,
    )


def _inputs(job: Job, work: Pass, serving: Mapping[str, int]) -> Any:
    """The Ray dataset of a pass's inputs, in groups, with the files of those that lie in tables."""
    import ray.data

    # Reading is fast: one process is enough however many parts there are, and bounds the memory it takes.
    # It stays on this process's own node, without which there is no run: Ray restarts an actor once its node
    # counts as dead, but goes on waiting for a task on a node that hangs.
    here = {NODE_LABEL: ray.get_runtime_context().get_node_id()}
    pending = ray.data.from_items([{"part": part} for part in work.parts]).map_batches(
        ReadPending(job.dest).__call__,
        batch_size=1,
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=1),
        label_selector=here,
    )
    if not work.in_tables:
        return ray_internals.regroup(pending, work.group, num_cpus=0, label_selector=here)
    read = pending.map_batches(
        ReadTables,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(**serving),
        num_cpus=STAGE_CPUS,
        **_RETRIES,
    )
    return ray_internals.regroup(read, work.group, num_cpus=STAGE_CPUS, processes=serving["max_size"])


def _pump(dataset: Any, tables: queue.Queue[pa.Table | BaseException | None], over: threading.Event) -> None:
    """Put the tables of a dataset into a queue, and None or an error at the end."""
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
def _ray_data_context(without: frozenset[str]) -> Iterator[None]:
    """Set Ray Data's options for a pass without some nodes, and restore them afterwards."""
    import ray.data

    context = ray.data.DataContext.get_current()
    elsewhere = copy.copy(context.execution_options)
    if without:
        elsewhere.label_selector = {NODE_LABEL: f"!in({', '.join(sorted(without))})"}
    wanted = {
        "execution_options": elsewhere,
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "max_errored_blocks": -1,  # a block whose process dies twice loses only its own rows: see `Attempts`
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
    """The innermost cause of an error from Ray as one line: the last line of its traceback."""
    while isinstance(inner := getattr(error, "cause", None), BaseException):
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = _KIND_OF_ERROR.sub("", lines[-1]) if lines else type(error).__name__
    return bounded_text(without_secrets(last))


def images_per_batch(settings: RunSettings, pending: int, machines: Machines) -> int:
    """Images in one batch: few enough that every worker gets about four batches or more."""
    on_cpu = min(BATCH_ON_CPU, (machines.most or machines.workers) // MODELS_PER_IMAGE)
    most = settings.batch or (BATCH_ON_GPU if machines.gpus else on_cpu)
    return max(1, min(most, pending // (4 * machines.workers)))
