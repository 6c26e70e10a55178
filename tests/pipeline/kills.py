"""Killing parts of a run on a Ray cluster of three nodes on this machine, and what must hold afterwards."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from small_images import write_image
from standin import logged

from pipeline.records.manifest import folder_of, manifest_files, read_batches
from pipeline.records.verify import newest_rows, verify_dataset
from pipeline.storage.store import open_store

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
IMAGES = 300
BATCH = 4
SECONDS = 0.02
"""That the stand-in takes for an image."""
PATIENCE = 240.0
"""Seconds after which a run counts as hanging."""
CPUS = 2
"""Logical ones, of a node."""
STORE = 80 << 20
"""Bytes of a node's object store."""
IN_FLIGHT = 160
"""Most images that one kill may cost a second time: four models with two batches each and one between stages
before and behind, twice over for what Ray rebuilds, and the rows of a second and a half."""
_ACTOR = re.compile(r"^ray::.*(FetchAndDecode|RestoreItems|EncodeAndStore)")
_HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 10_000,  # a node on a busy machine is slow, not dead
    "health_check_failure_threshold": 5,
}

DRIVER = """
import sys
from standin import StandIn
from pipeline import RunSettings, restore_dataset

if __name__ == "__main__":
    source, dest, address, batch, seconds, log = sys.argv[1:]
    summary = restore_dataset(
        source, dest, RunSettings(batch=int(batch), flush_seconds=0.5), address=address,
        restorer_factory=StandIn(seconds=float(seconds), log=log),
    )
    sys.exit(summary.exit_status)
"""


class Victim(StrEnum):
    """What is killed."""

    ACTOR = "actor"
    NODE = "node"
    DRIVER = "driver"


@dataclass(frozen=True)
class Outcome:
    """What a kill came to.

    Attributes:
        victim: what was killed.
        seed: of the images and of the moment.
        after: objects that were there at that moment.
        first_status: exit status of the run that was hit; negative for a signal.
        restored_again: images that were restored more than once.
        seconds: of the run that was hit and its rerun.
    """

    victim: Victim
    seed: int
    after: int
    first_status: int
    restored_again: int
    seconds: float


class ThreeNodes:
    """A Ray cluster: a head that computes nothing and two nodes that do."""

    def __init__(self) -> None:
        self._frozen: set[int] = set()
        self._start()

    def _start(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "object_store_memory": STORE,
                "include_dashboard": False,
                "_system_config": _HEALTH,
            },
        )
        self._nodes: list[Any] = []
        self.address = str(self._cluster.address)
        self.complete()

    @property
    def node_ids(self) -> list[str]:
        """Ray's ids of the nodes that compute."""
        return [str(node.node_id) for node in self._nodes]

    def complete(self, environment: Mapping[str, str] | None = None) -> None:
        """Add the nodes that are missing, with variables of their own."""
        while len(self._nodes) < 2:
            options = {"env_vars": dict(environment)} if environment else {}
            node = self._cluster.add_node(num_cpus=CPUS, object_store_memory=STORE, **options)
            self._nodes.append(node)
        self._cluster.wait_for_nodes(60)

    def replace(self, environment: Mapping[str, str] | None = None) -> None:
        """Put another node in the place of the last."""
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)
        self._end_frozen()
        self.complete(environment)

    def freeze_node(self) -> None:
        """Stop every process of the last node, and let them be."""
        self._frozen = _with_descendants(_processes(self._nodes[-1]))
        for pid in self._frozen:
            os.kill(pid, signal.SIGSTOP)

    def _end_frozen(self) -> None:
        """End what was frozen: Ray's agents end when they see their node end, and see nothing."""
        while self._frozen:
            with suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGKILL)

    def kill_head(self) -> None:
        """Let the head vanish, and with it what holds the cluster together."""
        for pid in _processes(self._cluster.head_node):
            os.kill(pid, signal.SIGKILL)

    def start_anew(self) -> None:
        """End what is left, and start another cluster at another address."""
        self.close()
        self._start()

    def kill_node(self, chance: random.Random) -> None:
        """Let a node that computes vanish."""
        node = self._nodes.pop(chance.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_actor(self, chance: random.Random) -> bool:
        """Kill the process of an actor of a run; whether there was one."""
        actors = sorted(pid for pid in self._workers() if _ACTOR.match(_command(pid)))
        if actors:
            os.kill(chance.choice(actors), signal.SIGKILL)
        return bool(actors)

    def _workers(self) -> set[int]:
        """Processes that descend from the nodes of this very cluster."""
        return _with_descendants({pid for node in self._cluster.list_all_nodes() for pid in _processes(node)})

    def close(self) -> None:
        """End it."""
        self._cluster.shutdown()
        self._end_frozen()


@contextmanager
def three_nodes() -> Iterator[ThreeNodes]:
    """A cluster that ends with the block."""
    nodes = ThreeNodes()
    try:
        yield nodes
    finally:
        nodes.close()


def kill_and_rerun(nodes: ThreeNodes, victim: Victim, seed: int) -> Outcome:
    """Start a run, kill a part of it at a random moment, run again, and check what must hold."""
    chance = random.Random(f"{victim}-{seed}")
    with tempfile.TemporaryDirectory(prefix="i2r-kill-") as name:
        folder = Path(name)
        source, dest, log = folder / "source", folder / "dest", folder / "log"
        for number in range(IMAGES):
            write_image(source / f"{number % 7}" / f"{number:03d}.png", seed=1000 * seed + number, side=16)
        start = time.monotonic()
        run = _start(source, dest, nodes.address, log)
        after = _wait_for_objects(run, dest, chance.randrange(1, IMAGES * 3 // 4))
        recorded, logged = _recorded(dest), log.stat().st_size
        match victim:
            case Victim.ACTOR:
                while not nodes.kill_actor(chance) and run.poll() is None:
                    time.sleep(0.05)
            case Victim.NODE:
                nodes.kill_node(chance)
            case Victim.DRIVER:
                run.send_signal(signal.SIGKILL)
        error = run.communicate(timeout=PATIENCE)[1]
        if victim is not Victim.DRIVER:
            assert run.returncode in (0, 1), error
        nodes.complete()
        again = _start(source, dest, nodes.address, log)
        error = again.communicate(timeout=PATIENCE)[1]
        assert again.returncode == 0, error
        seconds = time.monotonic() - start
        done_twice = {_logged(source / key) for key in recorded} & set(log.read_text()[logged:].split())
        assert not done_twice, f"{len(done_twice)} of {len(recorded)} images with a row were restored again"
        return Outcome(victim, seed, after, run.returncode, check(source, dest, log), round(seconds, 1))


def check(source: Path, dest: Path, log: Path) -> int:
    """Every input has exactly one newest row, every object its hash, and little was done twice: how much."""
    keys = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    store = open_store(str(dest))
    rows = [row for batch in newest_rows(store, ("source_key", "status")) for row in batch.to_pylist()]
    assert sorted(row["source_key"] for row in rows) == keys
    assert {row["status"] for row in rows} == {"restored"}
    verification = verify_dataset(str(dest))
    assert (verification.checked, verification.faults) == (len(keys), [])
    objects = {path.relative_to(dest).as_posix() for path in dest.rglob("*.png")}
    assert objects == set(keys)
    per_run = Counter(
        (file.run_id, row["source_key"])
        for file in manifest_files(store)
        for batch in read_batches(store, file.key, ["source_key"])
        for row in batch.to_pylist()
    )
    assert set(per_run.values()) == {1}, f"two rows of one input in {folder_of('one run')}"
    restored = Counter(log.read_text().split())
    assert set(restored) == {_logged(source / key) for key in keys}
    again = restored.total() - len(keys)
    assert again <= IN_FLIGHT, f"{again} images were restored again"
    return again


def _logged(path: Path) -> str:
    """What the stand-in logs of an image."""
    with Image.open(path) as picture:
        return logged(np.asarray(picture, np.float32) / 255)


def _recorded(dest: Path) -> set[str]:
    """Keys of the images that have a row already."""
    store = open_store(str(dest))
    return {
        row["source_key"]
        for file in manifest_files(store)
        for batch in read_batches(store, file.key, ["source_key"])
        for row in batch.to_pylist()
    }


def _start(source: Path, dest: Path, address: str, log: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(HERE)])
    arguments = [str(source), str(dest), address, str(BATCH), str(SECONDS), str(log)]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def _wait_for_objects(run: subprocess.Popen[str], dest: Path, count: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while (there := sum(1 for _ in dest.rglob("*.png"))) < count:
        assert run.poll() is None, f"the run ended by itself: {run.communicate()[1]}"
        assert time.monotonic() < deadline, "the run stores nothing"
        time.sleep(0.05)
    return there


def _processes(node: Any) -> set[int]:
    """Those that Ray started for a node; they start the workers."""
    return {process.process.pid for some in node.all_processes.values() for process in some}


def _with_descendants(pids: set[int]) -> set[int]:
    parents = {int(path.name): _parent(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return 0
