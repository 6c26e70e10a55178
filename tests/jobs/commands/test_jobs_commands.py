"""What `i2r jobs wait` ends with, from what the cluster and the destination say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.commands import jobs
from jobs.commands.jobs import exit_status
from jobs.remote.client import SubmittedJob
from jobs.views.progress import INTERRUPTED
from jobs.views.tables import print_job
from pipeline.errors import ErrorCode, ItemError
from pipeline.records.lease import FOLDER, identity
from pipeline.records.summary import ExitStatus, Progress
from pipeline.records.watching import RunWatch
from pipeline.storage.store import open_store


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("SUCCEEDED", 0, ExitStatus.DONE),
        ("FAILED", 3, ExitStatus.SOME_FAILED),
        ("FAILED", 4, ExitStatus.LEASE_HELD),
        ("FAILED", 5, ExitStatus.STOPPED),
        ("FAILED", 137, ExitStatus.BROKEN),  # killed
        ("FAILED", None, ExitStatus.BROKEN),  # never started
        ("STOPPED", None, ExitStatus.STOPPED),
    ],
)
def test_a_job_ends_as_its_command_would_have(
    tmp_path: Path, state: str, code: int | None, expected: ExitStatus
) -> None:
    assert exit_status(job(state, code), RunWatch(open_store(str(tmp_path)), "work/0")) == expected


def test_a_job_that_was_killed_while_it_stopped_did_not_stop_on_purpose(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    holder = {"run_id": "run", "seconds": 60, "released": False, **identity(), "submission": "work/0"}
    store.write(f"{FOLDER}/0000000001", json.dumps(holder).encode())
    assert exit_status(job("STOPPED", None), RunWatch(store, "work/0")) == ExitStatus.BROKEN


class _Closed(RunWatch):
    """A run whose destination these credentials may not read."""

    def was_cut_off(self) -> bool:
        raise ItemError(ErrorCode.FORBIDDEN, "s3://b may not be read")


def test_what_cannot_be_read_from_here_was_not_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(job("STOPPED", None), _Closed(open_store(str(tmp_path)), "w")) == ExitStatus.STOPPED
    assert "cannot be seen from here: s3://b may not be read" in capsys.readouterr().err


class _Interrupted:
    """A cluster that somebody stops asking."""

    def job(self, _id: str) -> SubmittedJob:
        raise KeyboardInterrupt


def test_ctrl_c_ends_the_watching_and_leaves_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_LOOKS", 0.0)
    cluster: Any = _Interrupted()
    with pytest.raises(SystemExit) as ended:
        jobs._await(cluster, job("RUNNING", None), RunWatch(open_store(str(tmp_path)), "work/0"))
    assert ended.value.code == INTERRUPTED
    assert "i2r: work is left as it is" in capsys.readouterr().err


def test_a_run_with_nothing_to_do_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_job(job("SUCCEEDED", 0), Progress(stage="done"))
    assert capsys.readouterr().out.splitlines()[-1] == "done: nothing to do"
    print_job(job("RUNNING", None), Progress(total=3))
    assert capsys.readouterr().out.splitlines()[-1] == "no image is done yet"


def job(state: str, code: int | None) -> SubmittedJob:
    return SubmittedJob("work", state, "work", 1, "s3://a", "s3://b", "work/0", 1.0, 2.0, code, "")
