"""What is sent to a cluster, and what is refused before anything is."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pictures import png

from jobs.cli import main
from jobs.commands.options import split_pairs
from jobs.remote.client import PYTHONS, RAYS, Cluster, SubmittedJob, misfit
from jobs.remote.package import PACKAGES, stage
from jobs.remote.submission import describe_work, entrypoint, refuse_twice, submit_work
from pipeline.errors import RunError, SettingsError
from pipeline.settings import RunSettings, load_settings

SETTINGS = RunSettings.model_validate(
    {"include": ["*.png", "a b/*"], "method": {"steps": 7}, "only": "new", "sample": 0.25, "format": "webp"}
)

RAY = "2.60.0"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    png(1).save(tmp_path / "in" / "a.png")
    return tmp_path / "in"


def name_of(source: Path, dest: object, settings: RunSettings, name: str | None = None) -> str:
    return describe_work(str(source), str(dest), settings, name, check=False).name


def test_the_command_says_the_same_as_the_settings(source: Path, tmp_path: Path) -> None:
    work = describe_work(str(source), f"{tmp_path}/a 'b'", SETTINGS, None, check=False)
    words = shlex.split(entrypoint(work, "priors/mine"))
    assert words[:5] == ["exec", "python", "-m", "jobs.cli", "restore"]
    assert words[-3:] == ["--", str(source), f"{tmp_path}/a 'b'"]
    pairs = tuple(word.removeprefix("--set=") for word in words if word.startswith("--set="))
    assert load_settings(flags=split_pairs(pairs)) == SETTINGS.model_copy(update={"prior": "priors/mine"})


def test_work_is_told_apart_by_what_it_is(source: Path, tmp_path: Path) -> None:
    names = {
        name_of(source, tmp_path / "out", SETTINGS),
        name_of(source, tmp_path / "out", SETTINGS, "nightly"),
        name_of(source, tmp_path / "out", RunSettings()),
        name_of(source, tmp_path / "other", SETTINGS),
    }
    assert len(names) == 4
    assert name_of(source, tmp_path / "out", SETTINGS) in names


class _WithoutGpus:
    """A cluster that cannot tell whether nodes with GPUs will come."""

    address = "http://head:8265"

    def require_gpus(self, count: int) -> None:
        raise SettingsError(f"0 GPUs, {count} were asked for")

    def jobs(self) -> list[SubmittedJob]:
        return []

    def submit(self, command: str, *_: object) -> None:
        self.command = command


def test_a_job_that_waits_for_gpus_is_sent_to_where_none_are_yet(source: Path, tmp_path: Path) -> None:
    cluster: Any = _WithoutGpus()
    at_once = describe_work(str(source), f"{tmp_path}/out", RunSettings(gpus=1), None, check=False)
    with pytest.raises(SettingsError, match="0 GPUs"):
        submit_work(cluster, at_once, again=False)
    patient = RunSettings(gpus=1, gpu_minutes=20)
    submit_work(
        cluster, describe_work(str(source), f"{tmp_path}/out", patient, None, check=False), again=False
    )
    assert "--set=gpus=1 --set=gpu_minutes=20.0" in cluster.command


def test_paths_do_not_depend_on_where_they_were_given(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_of(Path("in"), "out", SETTINGS) == name_of(source, tmp_path / "out", SETTINGS)
    settings = SETTINGS.model_copy(update={"reference": "better", "protect": "s3://bucket/masks"})
    sent = describe_work("in", "out", settings, None, check=False).settings
    assert (sent.reference, sent.protect) == (str(tmp_path / "better"), "s3://bucket/masks")


@pytest.mark.parametrize(
    ("source", "dest", "settings"),
    [
        ("s3://key:secret@bucket/in", "s3://bucket/out", {}),
        ("https://host/list.csv?X-Amz-Signature=abc", "s3://bucket/out", {}),
        ("s3://bucket/in", "az://box/out?sig=abc", {}),
        ("s3://bucket/in", "s3://bucket/out", {"reference": "ftp://me:secret@host/better"}),
    ],
)
def test_a_secret_is_refused_and_not_repeated(source: str, dest: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="a password, a token or a signature") as caught:
        describe_work(source, dest, RunSettings.model_validate(settings), None, check=True)
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_an_overlap_is_refused_without_a_look_at_the_addresses() -> None:
    with pytest.raises(SettingsError, match="SOURCE s3://bucket/in and DEST s3://bucket/in/out overlap"):
        describe_work("s3://bucket/in/*.png", "s3://bucket/in/out", RunSettings(), None, check=False)


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([], None),
        (["STOPPED"], None),
        (["FAILED"], None),
        (["SUCCEEDED", "FAILED"], None),
        (["PENDING"], "under way as work-1"),
        (["RUNNING", "FAILED"], "under way as work-1"),  # the second stood back
        (["FAILED", "SUCCEEDED"], "was done as work-2"),
        (["FAILED", "FAILED 3"], "was done as work-2"),  # some images failed
        (["FAILED 1"], None),
    ],
)
def test_work_is_refused_twice(states: list[str], words: str | None) -> None:
    attempts = [
        SubmittedJob(
            f"work-{n}", state, "work", n, "s3://a", "s3://b", f"work-{n}/0", 1.0, 2.0, int(code or 0), ""
        )
        for n, (state, _, code) in enumerate((text.partition(" ") for text in states), 1)
    ]
    if words is None:
        refuse_twice(attempts)
    else:
        with pytest.raises(SettingsError, match=words):
            refuse_twice(attempts)


@pytest.mark.parametrize("name", ["", "Nightly", "a_b", "-a", "a-", "a" * 41])
def test_a_name_that_an_id_cannot_hold_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="--name"):
        name_of(source, tmp_path / "out", SETTINGS, name)


def test_the_code_runs_where_it_has_travelled_to(tmp_path: Path, own_prior: Path) -> None:
    folder = tmp_path / "staged"
    folder.mkdir()
    assert stage(folder, str(own_prior)) == f"priors/{own_prior.name}"
    assert {path.name for path in folder.iterdir()} == {*PACKAGES, "priors"}
    assert not list(folder.rglob("__pycache__"))
    code = "import i2r, jobs.cli, pipeline; print(jobs.cli.__file__, *i2r.built_in_priors())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=folder, capture_output=True, text=True, check=True, env={},
    )  # fmt: skip
    assert Path(done.stdout.split()[0]).resolve().is_relative_to(folder)
    assert "photo-64" in done.stdout


@pytest.mark.parametrize(
    ("ray", "python", "words"),
    [
        ("2.9.3", "3.11.7", "it runs Ray 2.9.3"),
        ("2.99.0", "3.11.7", "it runs Ray 2.99.0"),
        ("2.60.0", "3.9.18", "it runs Python 3.9.18"),
    ],
)
def test_versions_that_do_not_fit_are_named_with_the_fix(ray: str, python: str, words: str) -> None:
    problem = misfit(ray, python)
    assert problem is not None
    assert problem.startswith(words)
    assert "start it from an image that has that" in problem
    assert misfit("2.60.0", "3.12.1") is None


def test_versions_that_fit_are_those_that_are_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    rays = next(line for line in project["dependencies"] if line.startswith("ray["))
    assert rays.endswith(f"]{RAYS}")
    assert project["requires-python"] == PYTHONS


class _OldCluster(BaseHTTPRequestHandler):
    """Answers as the dashboard of a Ray does that is too old."""

    def do_GET(self) -> None:
        data = {"rayVersion": "2.9.3", "pythonVersion": "3.9.18"}
        body = json.dumps({"version": "4", "ray_version": "2.9.3", "data": data}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of something that answers over HTTP."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_cluster_that_does_not_fit_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    wanted = r"it runs Ray 2\.9\.3, and >=2\.60.* is needed"
    with serving(_OldCluster) as address, pytest.raises(SettingsError, match=wanted):
        Cluster(address)


class _Stranger(_OldCluster):
    """Answers as a web server does that knows nothing of Ray."""

    def do_GET(self) -> None:
        self.send_error(404)


def test_what_is_no_cluster_is_reported_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with serving(_Stranger) as address, pytest.raises(SettingsError) as caught:
        Cluster(address)
    assert "give the address of its dashboard, whose port is 8265" in str(caught.value)
    assert "\n" not in str(caught.value)


class _Guarded(_OldCluster):
    """Answers as a Ray does that wants a token."""

    def do_GET(self) -> None:
        given = self.headers["Authorization"]
        self.send_response(403 if given else 401)
        self.end_headers()
        self.wfile.write(b"Forbidden" if given else b"Unauthorized: Missing authentication token")


def test_a_cluster_that_wants_a_token_is_reported_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with serving(_Guarded) as address, pytest.raises(SettingsError) as caught:
        Cluster(address)
    assert f"{address} wants the token of its cluster: export it as RAY_AUTH_TOKEN" in str(caught.value)
    assert "\n" not in str(caught.value)


class _Dying(_OldCluster):
    """Answers who it is, and then nobody listens any more."""

    def do_GET(self) -> None:
        data = {"rayVersion": RAY, "pythonVersion": "3.11.7"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"version": "4", "ray_version": RAY, "data": data}).encode())


class _Full(_Dying):
    """Takes no job, and says why."""

    reason = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500)
        self.end_headers()
        self.wfile.write(self.reason.encode())


@pytest.mark.parametrize(
    ("reason", "kind", "words"),
    [
        ("Job with submission_id work already exists.", SettingsError, "was submitted just now as work"),
        ("the disk is full", RunError, "open its dashboard"),
    ],
)
def test_a_job_that_is_not_taken_is_reported_with_the_fix(
    reason: str, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    monkeypatch.setattr(_Full, "reason", reason)
    with serving(_Full) as address, pytest.raises(kind, match=words) as caught:
        Cluster(address).submit("true", "work", {}, {})
    assert "\n" not in str(caught.value)
    assert "head has died" not in str(caught.value)


def test_a_cluster_that_goes_away_is_reported_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    with serving(_Dying) as address:
        cluster = Cluster(address)
    with pytest.raises(RunError) as caught:
        cluster.job("work")
    assert str(caught.value).endswith(
        "([Errno 111] Connection refused): if its head has died, start it again and submit the same work, "
        "which goes on where it was"
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["submit", "{tmp}/in", "{tmp}/out", "--address=http://127.0.0.1:1"], "nothing answers at"),
        (["submit", "{tmp}/in", "{tmp}/out", "--address=ray://127.0.0.1:1"], "no address of a Jobs API"),
        (["submit", "{tmp}/nowhere", "{tmp}/out"], "does not exist"),
        (["submit", "{tmp}/in", "{tmp}/out", "--set=batchs=1"], "did you mean 'batch'"),
        (["submit", "{tmp}/in", "{tmp}/out", "--name=A"], "--name 'A'"),
        (["jobs", "list", "--address=127.0.0.1:1"], "nothing answers at http://127.0.0.1:1"),
        (["restore", "{tmp}/in", "{tmp}/out", "--address=127.0.0.1:1"], "nothing answers at 127.0.0.1:1"),
        (["restore", "{tmp}/in", "{tmp}/out", "--address=http://127.0.0.1:1"], "use `i2r submit`"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    source: Path, tmp_path: Path, command: list[str], words: str
) -> None:
    result = CliRunner().invoke(main, [word.format(tmp=tmp_path) for word in command])
    assert result.exit_code == 2, result.stderr
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
