"""Who writes to a destination: one run at a time, and the next at once when it is dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ErrorCode, ItemError, LeaseHeldError, LeaseLostError
from pipeline.records.lease import FOLDER, Epoch, Lease, epochs, identity, is_dead
from pipeline.storage.store import Store, open_store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(
        str(tmp_path) if request.param == "local" else request.getfixturevalue("bucket") + "/dest"
    )


def raises(error: Exception) -> Callable[..., list[str]]:
    def method(*_: object) -> list[str]:
        raise error

    return method


def hold(store: Store, epoch: int, **holder: object) -> None:
    """Leave a lease behind as another process would."""
    content = {"run_id": "other", "seconds": 60, "released": False, **identity(), **holder}
    store.write(f"{FOLDER}/{epoch:010d}", json.dumps(content).encode())


def test_epochs_count_up(store: Store) -> None:
    for expected in (1, 2, 3):
        with Lease(store, f"run-{expected}", 60) as lease:
            assert lease.epoch == expected


def test_a_second_run_is_refused_with_the_holders_name(store: Store) -> None:
    with (
        Lease(store, "first", 60),
        pytest.raises(LeaseHeldError, match=f"run first .process {os.getpid()} on"),
    ):
        Lease(store, "second", 60).__enter__()


def test_a_process_that_is_gone_is_taken_over_at_once(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    hold(store, 7, pid=gone.pid)
    with Lease(store, "second", 60) as lease:
        assert lease.epoch == 8


def test_another_process_of_the_same_number_is_not_the_holder(store: Store) -> None:
    assert is_dead(identity() | {"started": "1"})
    assert not is_dead(identity())
    assert not is_dead(identity() | {"host": "elsewhere", "pid": 2**22})


def test_a_holder_elsewhere_is_waited_for(store: Store) -> None:
    hold(store, 1, host="elsewhere")
    with pytest.raises(LeaseHeldError, match="elsewhere"):
        Lease(store, "second", 60).__enter__()


def test_a_silent_holder_elsewhere_is_taken_over_after_its_time(store: Store) -> None:
    hold(store, 1, host="elsewhere", seconds=1)
    time.sleep(2.1)
    with Lease(store, "second", 60) as lease:
        assert lease.epoch == 2


def test_a_later_attempt_of_the_same_job_takes_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(store, 1, host="elsewhere", job="nightly")
    monkeypatch.setenv("I2R_JOB", "nightly")
    with Lease(store, "second", 60) as lease:
        assert lease.epoch == 2


def test_a_refusal_names_the_holders_job(store: Store) -> None:
    hold(store, 1, host="elsewhere", submission="i2r-nightly-2/0badcafe")
    with pytest.raises(LeaseHeldError, match=r"run other \(job i2r-nightly-2, process \d+ on elsewhere\)"):
        Lease(store, "second", 60).__enter__()


def test_an_owner_that_sees_a_higher_epoch_stops(store: Store) -> None:
    with Lease(store, "first", 0.4) as lease:
        lease.check()
        hold(store, 2)
        time.sleep(1.0)
        with pytest.raises(LeaseLostError, match="another run took over"):
            lease.check()


def test_whoever_writes_for_a_run_looks_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def names(_store: Store, folder: str) -> list[str]:
        looks.append(folder)
        return ["0000000007"]

    monkeypatch.setattr(Store, "names", names)
    held, lost = Epoch(store, 7, 4.0), Epoch(store, 6, 4.0)
    for _ in range(5):
        held.check()
    assert looks == [FOLDER]
    time.sleep(1.1)
    held.check()
    held.check(now=True)
    assert looks == [FOLDER] * 3
    for _ in range(3):
        with pytest.raises(LeaseLostError, match=f"another run took over {store.uri()}"):
            lost.check()
    assert len(looks) == 4


def test_a_store_that_does_not_answer_takes_no_lease_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(store, 2)
    epoch = Epoch(store, 1, 60.0)
    with monkeypatch.context() as away:
        away.setattr(Store, "names", raises(ItemError(ErrorCode.STORAGE, "no answer")))
        epoch.check()
    time.sleep(1.1)
    with pytest.raises(LeaseLostError):
        epoch.check()


def test_only_one_of_many_takes_over(store: Store) -> None:
    hold(store, 1, released=True)
    leases = [Lease(store, f"run-{number}", 60) for number in range(4)]
    entered = []
    for lease in leases:
        try:
            entered.append(lease.__enter__())
        except LeaseHeldError:
            continue
    assert len(entered) == 1
    entered[0].__exit__()
    assert epochs(store) == [1, 2]
