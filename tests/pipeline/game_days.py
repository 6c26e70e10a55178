"""Game days: what goes wrong on clusters and in stores, done on purpose in the middle of a run."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from ailing import Ailment
from faulty_proxy import Fault, no_fault
from kills import IN_FLIGHT, PATIENCE, ThreeNodes
from playground import IMAGES, PAUSE, Playground, bucket_behind_a_proxy, key_of, small_disk

BATCH = 4
ERRORS = 8
"""Most in a row: two batches."""
IN_VAIN = 2 * 4 * BATCH
"""Most images for an ill node: each of its two models may be given four batches until it is out."""
DENIAL = 120.0
"""Seconds in which a store denies everything."""
LEASE = 60.0
"""Seconds of a lease."""
SKEW = "+3600s"
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

Move = Callable[[Playground], None]


def _nothing(_ground: Playground) -> None:
    pass


@dataclass(frozen=True)
class GameDay:
    """What goes wrong, and what must hold.

    Attributes:
        wrong: what goes wrong, in words.
        strike: lets it happen, in the middle of a run.
        ends: exit statuses that this run may end with.
        says: what it must say of it, a regular expression; None if there is nothing to say.
        heal: mends it, after the run has ended.
        prepare: done before the run starts.
        within: seconds after the strike in which the run must say so, or end. Ray itself takes 60 to miss its
            head, and 55 to miss a node that does not answer.
        vain: most images that may be given to an ill model.
        in_s3: whether the images lie in S3, behind a proxy.
        mounts: folders of the playground that are file systems of their own, and the bytes of these.
        seconds: that the stand-in takes for an image.
        settings: of the runs.
    """

    wrong: str
    strike: Move
    ends: frozenset[int] = frozenset({0})
    says: str | None = None
    heal: Move = _nothing
    prepare: Move = _nothing
    within: float = 60.0
    vain: int = 0
    in_s3: bool = False
    mounts: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.05
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a game came to.

    Attributes:
        day: its name.
        seed: of the images and of the moment.
        scale: of `DENIAL` and `LEASE`.
        after: images that were restored at that moment.
        status: exit status of the run that was hit; negative for a signal.
        said: what it said of it, or None.
        noticed: seconds until it said so; without anything to say, until it had ended.
        runs: how many it took until one ended well.
        lost: images that were not restored in the end.
        twice: images that were restored more than once.
        vain: images that were given to an ill model.
        repeated: requests that the run that was hit had to repeat, if it ended well.
        seconds: of all runs.
        fault: what did not hold, or None.
    """

    day: str
    seed: int
    scale: float
    after: int = 0
    status: int | None = None
    said: str | None = None
    noticed: float | None = None
    runs: int = 0
    lost: int | None = None
    twice: int = 0
    vain: int = 0
    repeated: int | None = None
    seconds: float = 0.0
    fault: str | None = None


def _ill(ailment: Ailment) -> dict[str, Any]:
    """A day with a node whose model is ill; the run is long enough to find out."""
    return {
        "strike": lambda ground: ground.fall_ill(ailment),
        "says": r"(\d+ errors|processes lost) in a row on node",
        "heal": Playground.recover,
        "vain": IN_VAIN,
        "seconds": 0.7,
    }


def _hang(ground: Playground) -> None:
    ground.nodes.freeze_node()


def _replace_node(ground: Playground) -> None:
    ground.nodes.replace()


def _be_an_hour_off(ground: Playground) -> None:
    library = os.environ.get("LIBFAKETIME", _FAKETIME)
    assert Path(library).exists(), f"{library} is missing: install Debian's libfaketime, or set LIBFAKETIME"
    ground.nodes.replace({"LD_PRELOAD": library, "FAKETIME": SKEW, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})


def _be_on_time(ground: Playground) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=30)
    assert any(row["finished_at"] > soon for row in ground.newest("finished_at")), (
        "no row is from the node whose clock is an hour ahead"
    )
    ground.nodes.replace()


def _fill_up(ground: Playground) -> None:
    with contextlib.suppress(OSError), (ground.folder / "dest" / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _make_room(ground: Playground) -> None:
    (ground.folder / "dest" / "ballast").unlink()


def _deny(ground: Playground) -> None:
    until = time.monotonic() + DENIAL * ground.scale
    ground.store.plan = lambda _method, _path: Fault.DENIED if time.monotonic() < until else Fault.NONE


def _misbehave(fault: Fault, share: float, method: str = "") -> Move:
    """A store that answers a share of the requests, all or those of a method, with a fault."""

    def strike(ground: Playground) -> None:
        ground.store.plan = lambda asked, _path: (
            fault if method in ("", asked) and ground.chance.random() < share else Fault.NONE
        )

    return strike


def _behave(ground: Playground) -> None:
    ground.store.plan = no_fault


def _add_large_images(ground: Playground) -> None:
    """Images whose outputs are stored in parts, and a store that forgets the first part that it is given."""
    for number in range(2):
        side = 4200
        pixels = np.random.default_rng(number).integers(0, 40_000, (side, side, 3), dtype=np.uint16)
        data = b"P6\n%d %d\n65535\n" % (side, side) + pixels.astype(">u2").tobytes()
        ground.source.write(f"large-{number}.ppm", data)
    left = [Fault.FORGOTTEN]
    ground.store.plan = lambda method, path: (
        left.pop() if left and method == "PUT" and "partNumber=" in path else Fault.NONE
    )


def _await_the_loss(ground: Playground) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ground.store.seen[Fault.FORGOTTEN]:
        assert time.monotonic() < deadline, "nothing is stored in parts"
        time.sleep(0.05)


def _kill_head(ground: Playground) -> None:
    ground.nodes.kill_head()


def _start_anew(ground: Playground) -> None:
    ground.nodes.start_anew()


def _freeze_and_depose(ground: Playground) -> None:
    """Freeze the driver, let another run take over once it may, and wake the driver when that has ended."""
    assert ground.run is not None
    ground.run.process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE + 2 * float(ground.settings["lease_seconds"])
    while (other := ground.start()).wait():
        assert "is being written by" in other.said, other.said
        assert time.monotonic() < deadline, "the lease of a frozen run is never over"
        time.sleep(1.0)
    ground.struck = time.monotonic()
    ground.run.process.send_signal(signal.SIGCONT)


def _swap(ground: Playground) -> None:
    """Put other images in the place of a third: half of them at once, half of them written piece by piece."""
    for place, number in enumerate(ground.chance.sample(range(IMAGES), IMAGES // 3)):
        key, data = key_of(number), ground.image(10**9 + ground.chance.randrange(10**9))
        if place % 2:
            ground.source.write(key, data)
            continue
        with (ground.folder / "source" / key).open("wb", buffering=0) as file:
            for start in range(0, len(data), 200):
                file.write(data[start : start + 200])
                time.sleep(0.002)


_STOPPED = frozenset({1})
DAYS: Mapping[str, GameDay] = {
    "gpu": GameDay("a node's GPU fails every batch", **_ill(Ailment.GPU)),
    "shapes": GameDay("a node's model returns wrong shapes", **_ill(Ailment.SHAPES)),
    "disk": GameDay("a node's own disk is full", mounts={"disk": "64k"}, **_ill(Ailment.DISK)),
    "hang": GameDay("a node hangs: all its processes are frozen", _hang, heal=_replace_node, within=120.0),
    "clock": GameDay("a node's clock is an hour ahead", _nothing, prepare=_be_an_hour_off, heal=_be_on_time),
    "full": GameDay(
        "the disk of the destination is full",
        _fill_up,
        _STOPPED,
        r"takes no more \(No space left on device\)",
        _make_room,
        mounts={"dest": "8m"},
    ),
    "denied": GameDay(
        "a store denies everything for two minutes",
        _deny,
        _STOPPED,
        r"denies writing|the last \(forbidden\)",
        in_s3=True,
    ),
    "throttled": GameDay(
        "a store throttles three requests of ten", _misbehave(Fault.THROTTLED, 0.3), heal=_behave, in_s3=True
    ),
    "half": GameDay(
        "a store breaks off three reads of ten", _misbehave(Fault.HALF, 0.3, "GET"), heal=_behave, in_s3=True
    ),
    "part": GameDay(
        "a store loses a part of an upload", _await_the_loss, prepare=_add_large_images, in_s3=True
    ),
    "head": GameDay("the head is killed", _kill_head, _STOPPED, heal=_start_anew, within=75.0),
    "frozen": GameDay(
        "a driver is frozen past its lease, and wakes when another run has taken over and ended",
        _freeze_and_depose,
        _STOPPED,
        "another run took over",
        settings={"workers": 1},
    ),
    "swapped": GameDay("a third of the sources change in mid-run", _swap, frozenset({0, 3})),
}


def play(name: str, seed: int, nodes: ThreeNodes, endpoint: str, scale: float) -> Outcome:
    """Play a game day: run, let it happen, heal it, run until all is done, and check what must hold."""
    day, chance = DAYS[name], random.Random(f"{name}-{seed}")
    settings = {"batch": BATCH, "max_errors_in_a_row": ERRORS, "flush_seconds": 0.5}
    settings |= {"lease_seconds": LEASE * scale, **day.settings}
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="i2r-game-")))
        ground = Playground(nodes, folder, chance, scale, settings, day.seconds)
        for mounted, size in day.mounts.items():
            stack.enter_context(small_disk(folder / mounted, size))
        if day.in_s3:
            ground.address, ground.proxy = stack.enter_context(bucket_behind_a_proxy(endpoint))
        stack.callback(ground.close)
        ground.fill(seed)
        begun = time.monotonic()
        try:
            day.prepare(ground)
            _hit(day, ground, found)
            day.heal(ground)
            _finish(ground, found)
            ground.check()
            found["lost"] = 0
            _judge(day, ground, found)
        except AssertionError as error:
            found["fault"] = str(error).replace(str(folder), "FOLDER")[:500]
            nodes.start_anew()
        found["seconds"] = round(time.monotonic() - begun, 1)
        return Outcome(name, seed, scale, twice=ground.done_twice, vain=ground.in_vain, **found)


def _hit(day: GameDay, ground: Playground, found: dict[str, Any]) -> None:
    """Let a run meet its misfortune, and wait for its end."""
    ground.run = run = ground.start()
    found["after"] = ground.chance.randrange(1, IMAGES // 2)
    ground.wait_for_images(run, found["after"])
    ground.struck = time.monotonic()
    day.strike(ground)

    def look() -> None:
        if day.says and "said" not in found and (match := re.search(day.says, run.said)):
            found.update(said=match.group(), noticed=round(time.monotonic() - ground.struck, 1))

    found["status"] = run.wait(look)
    found.setdefault("noticed", round(time.monotonic() - ground.struck, 1))
    assert found["status"] in day.ends, f"it ended with {found['status']}: {run.said[-300:]}"
    if found["status"] == 0:
        _, found["repeated"] = run.counts


def _finish(ground: Playground, found: dict[str, Any]) -> None:
    """Run until a run ends well: what the one that was hit has recorded is not done again."""
    found["runs"], deadline = 2, time.monotonic() + PATIENCE + DENIAL * ground.scale
    while (again := ground.start()).wait():
        assert time.monotonic() < deadline, f"the runs after it do not end well: {again.said[-300:]}"
        time.sleep(PAUSE * ground.scale)
        found["runs"] += 1


def _judge(day: GameDay, ground: Playground, found: dict[str, Any]) -> None:
    """Check that it was noticed in time, and how much was done for nothing."""
    assert not day.says or "said" in found, "the run did not say what was wrong"
    assert found["noticed"] <= day.within, f"it was noticed after {found['noticed']} seconds"
    assert ground.done_twice <= IN_FLIGHT, f"{ground.done_twice} images were restored again"
    assert ground.in_vain <= day.vain, f"{ground.in_vain} images were given to an ill model"
