"""Schedules: each kind's files are what their readers take, start the same run, and hold no secret."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from manifests import check_object, check_objects, cluster_spec, pods

from jobs.cli import main
from jobs.schedules.kubernetes import LONGEST_RAY_CRON_JOB
from pipeline.records.summary import ExitStatus

KINDS = ["raycronjob", "cronjob", "crontab", "systemd", "airflow"]
SOURCE = "s3://in/it's 100%/$new/*.png"
OPTIONS = ["--include", "*.png", "--set", 'exclude=["a b"]', "--max-hours", "6", "--webhook-env", "HOOK"]
ARGUMENTS = [
    *["restore", SOURCE, "s3://out/nightly", "--log-format", "json"],
    *["--webhook-env", "HOOK", "--retried", "--set", 'include=["*.png"]', "--set", 'exclude=["a b"]'],
    *["--set", "retry_failed=true", "--set", "max_hours=6.0"],
]
IN_CLUSTER = [*ARGUMENTS[:5], "--address", "auto", *ARGUMENTS[5:]]
IN_CRONTAB = [argument for argument in ARGUMENTS if argument != "--retried"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["schedule", *map(str, arguments)])


def written(kind: str, *options: object, source: str = SOURCE, dest: str = "s3://out/nightly") -> str:
    line = ["--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--kind", kind, *options]
    result = run(source, dest, *line)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_raycronjob(tmp_path: Path) -> None:
    item, policy = check_objects(
        written("raycronjob", *OPTIONS, "--device", "gpu", "--max-nodes", 3, "--image", "a/b:1")
    )
    check_policy(policy, item, "default")
    assert (item["kind"], item["metadata"]["name"]) == ("RayCronJob", "i2r-nightly")
    assert item["spec"]["schedule"] == "30 2 * * *"
    assert item["spec"]["timeZone"] == "Europe/Berlin"
    check_job(tmp_path, item["spec"]["jobTemplate"], "--set", "gpus=1")
    (workers,) = cluster_spec(item)["workerGroupSpecs"]
    assert workers["maxReplicas"] == 3
    for pod in pods(item):
        assert pod["spec"]["containers"][0]["image"] == "a/b:1"
    text = written("raycronjob")
    assert "featureGates: [{name: RayCronJob, enabled: true}]" in text
    assert text.startswith("# KubeRay 1.7 or newer")  # its timeZone is not in 1.6


def test_cronjob_may_create_rayjobs_and_nothing_else(tmp_path: Path) -> None:
    account, role, binding, config, cron, policy = check_objects(
        written("cronjob", *OPTIONS, "--namespace", "archive")
    )
    assert role["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"][0]["name"] == account["metadata"]["name"]
    assert {item["metadata"]["namespace"] for item in (account, role, binding, config, cron)} == {"archive"}
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert cron["spec"]["timeZone"] == "Europe/Berlin"
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert pod["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]
    job = yaml.safe_load(config["data"]["rayjob.yaml"])
    check_object(job)
    assert job["metadata"]["generateName"] == "i2r-nightly-"
    check_job(tmp_path, job["spec"])
    check_policy(policy, job, "archive")


@pytest.mark.parametrize(
    ("device", "options", "image"),
    [
        ("cpu", [], f"invert2restore:{version('invert2restore')}-cpu"),
        ("cuda", ["--device", "gpu", "--image", "example.org/i2r:1"], "example.org/i2r:1"),
    ],
)
@pytest.mark.parametrize("kind", ["raycronjob", "cronjob"])
def test_a_manifest_says_what_must_be_there_before_it_runs(
    kind: str, device: str, options: list[str], image: str
) -> None:
    text = written(kind, "--service-account", "archivist", "--namespace", "archive", *options)
    for line in (
        f"docker build --file cluster/Containerfile.{device} --tag {image} .",
        f"docker push {image}",
        "kubectl create serviceaccount archivist --namespace archive",
        "kubectl create serviceaccount archivist-worker --namespace archive",
    ):
        assert f"#   {line}\n" in text
    assert ("has no registry" in text) == (not options)


def check_policy(policy: dict[str, Any], item: dict[str, Any], namespace: str) -> None:
    """Check that a policy is that of the pods of an object."""
    assert (policy["kind"], policy["metadata"]["namespace"]) == ("NetworkPolicy", namespace)
    for pod in pods(item):
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def check_job(folder: Path, spec: dict[str, object], *more: str) -> None:
    """Check that a job starts the run that was asked for, whatever a shell makes of its line."""
    program = folder / "i2r"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "$I2R_JOB" "$@"\nexit "$STATUS"\n')
    program.chmod(0o755)
    place = {"POD_NAMESPACE": "archive", "RAY_CLUSTER_NAME": "night-29-abcde"}
    for status in (0, 1, 5):
        process = subprocess.Popen(
            ["sh", "-c", str(spec["entrypoint"])],
            stdout=subprocess.PIPE,
            text=True,
            env={**place, "STATUS": str(status), "PATH": f"{folder}:/usr/bin:/bin"},
        )
        output, _ = process.communicate()
        assert process.returncode == status
        pid, *shown = output.splitlines()
        assert int(pid) == process.pid  # a signal to the job is one to the program
        assert shown == ["archive/night-29", *IN_CLUSTER[:-2], *more, *IN_CLUSTER[-2:]]
    assert spec["activeDeadlineSeconds"] == 6 * 3600 + 1800
    assert spec["submissionMode"] == "HTTPMode"


def test_a_crontab_line_starts_the_run(tmp_path: Path) -> None:
    lines = [line for line in written("crontab", *OPTIONS).splitlines() if not line.startswith("#")]
    assert lines[0] == "CRON_TZ=Europe/Berlin"
    fields, command = lines[1][: len("30 2 * * *")], lines[1][len("30 2 * * *") + 1 :]
    assert fields == "30 2 * * *"
    assert not re.search(r"(?<!\\)%", command)
    (tmp_path / ".config" / "i2r").mkdir(parents=True)
    (tmp_path / ".config" / "i2r" / "i2r-nightly.env").write_text("HOOK=https://example.org/secret\n")
    program = str(Path(sys.executable).with_name("i2r"))
    command = command.replace(r"\%", "%").replace(program, "i2r")  # as cron hands it to the shell
    shown = 'i2r() { printf "%s\\n" "$HOOK" "$@"; }; '
    subprocess.run(
        ["sh", "-c", shown + command], check=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    )
    log = (tmp_path / "i2r-nightly.log").read_text().splitlines()
    assert log == ["https://example.org/secret", *IN_CRONTAB]


def test_systemd_units_are_what_systemd_takes(tmp_path: Path) -> None:
    result = run(
        SOURCE, "s3://out/nightly", "--cron", "0 2 1 * 1", "--kind", "systemd", "--out", tmp_path, *OPTIONS
    )
    service, timer = (tmp_path / f"i2r-nightly.{kind}" for kind in ("service", "timer"))
    assert result.stdout.split() == [str(service), str(timer)]
    assert timer.read_text().count("OnCalendar=") == 2
    assert "# loginctl enable-linger" in timer.read_text()
    (command,) = re.findall("^ExecStart=(.*)$", service.read_text(), re.MULTILINE)
    plain = command.replace("%%", "%").replace("$$", "$")
    assert shlex.split(plain) == [str(Path(sys.executable).with_name("i2r")), *ARGUMENTS]
    assert "TimeoutStartSec=22500" in service.read_text()
    assert "Restart=on-failure\nRestartSec=300\nRestartPreventExitStatus=2 6\n" in service.read_text()
    assert f"StartLimitIntervalSec={43200}\nStartLimitBurst=3\n" in service.read_text()
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--user", service, timer],
            capture_output=True,
            text=True,
            env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_airflow_dag_is_python_that_starts_the_run() -> None:
    tree = ast.parse(written("airflow", *OPTIONS))
    calls = {ast.unparse(call.func): call for call in ast.walk(tree) if isinstance(call, ast.Call)}
    keywords = {word.arg: word.value for word in calls["BashOperator"].keywords}
    command = ast.literal_eval(keywords["bash_command"])
    assert shlex.split(command.removeprefix("{% raw %}").removesuffix("{% endraw %}")) == ["i2r", *ARGUMENTS]
    assert ast.unparse(calls["CronTriggerTimetable"]) == (
        "CronTriggerTimetable('30 2 * * *', timezone='Europe/Berlin')"
    )
    assert ast.literal_eval(keywords["retries"]) == 2
    assert ast.literal_eval(keywords["env"]) == {"I2R_JOB": "{{ dag.dag_id }}/{{ run_id }}"}


@pytest.mark.parametrize("kind", ["crontab", "systemd"])
def test_paths_on_this_machine_are_written_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"restore {tmp_path}/photographs {tmp_path}/restored" in written(
        kind, source="photographs", dest="restored"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--cron", "61 * * * *"], "bad minute"),
        (["--timezone", "Mars/Olympus"], "no time zone 'Mars/Olympus'"),
        (["--name", "_"], "--name '_'"),
        (["--set", "batchs=3"], "did you mean 'batch'"),
        (["--reference", "s3://user:secret@b/x"], "holds a password"),
        (["--webhook-env", "https://example.org/secret"], "not the address"),
        (["--webhook-env", "I2R_HOOK"], "another name"),
    ],
)
def test_bad_input_is_one_line_with_the_fix(kind: str, change: list[str], words: str) -> None:
    result = run("s3://in", "s3://out", "--cron", "0 2 * * *", "--kind", kind, *change)
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert "secret" not in result.stderr


@pytest.mark.parametrize(("kind", "longest"), [("raycronjob", LONGEST_RAY_CRON_JOB), ("cronjob", 41)])
def test_names_have_the_length_that_kubernetes_takes(kind: str, longest: int) -> None:
    assert "a" * longest in written(kind, "--name", "a" * longest)
    result = run("s3://in", "s3://out", "--cron", "0 2 * * *", "--kind", kind, "--name", "a" * (longest + 1))
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert f"at most {longest}" in result.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("source", "extent", "dest"),
    [
        ("s3://a/in", "s3://a/in", "s3://a/in/out"),
        ("s3://a/in/*.png", "s3://a/in", "s3://a/in/"),
        ("s3://a/in/x", "s3://a/in/x", "s3://a/in"),
    ],
)
def test_what_every_night_would_refuse_is_refused_at_once(
    kind: str, source: str, extent: str, dest: str
) -> None:
    result = run(source, dest, "--cron", "0 2 * * *", "--kind", kind)
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert f"SOURCE {extent} and DEST {dest} overlap" in result.stderr
    assert run("s3://a/in", "s3://a/in-2", "--cron", "0 2 * * *", "--kind", kind).exit_code == 0


@pytest.mark.parametrize("kind", ["raycronjob", "cronjob"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--gpus", "1"], "add --device gpu"),
        (["--gpus", "3", "--device", "gpu", "--max-nodes", "2"], "raise --max-nodes"),
        (["--namespace", "A"], "--namespace 'A'"),
        (["--service-account", "a b"], "--service-account 'a b'"),
        (["--service-account", "a" * 57], "at most 56"),
        (["--image", "a b"], "--image 'a b'"),
    ],
)
def test_nodes_that_cannot_be_had_are_refused(kind: str, change: list[str], words: str) -> None:
    result = run("s3://in", "s3://out", "--cron", "0 2 * * *", "--kind", kind, *change)
    assert (result.exit_code, result.stdout) == (ExitStatus.BAD_SETTINGS, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["crontab", "systemd", "airflow"])
def test_a_device_of_kubernetes_is_refused_elsewhere(kind: str) -> None:
    result = run("s3://in", "s3://out", "--cron", "0 2 * * *", "--kind", kind, "--device", "gpu")
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert "--device is for Kubernetes" in result.stderr


def test_as_many_nodes_are_there_at_the_start_as_a_run_insists_on() -> None:
    item, _ = check_objects(written("raycronjob", "--device", "gpu", "--gpus", 3))
    (workers,) = cluster_spec(item)["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["replicas"], workers["maxReplicas"]) == (3, 3, 8)
    assert "--set gpus=3" in item["spec"]["jobTemplate"]["entrypoint"]


@pytest.mark.parametrize(
    "image", ["a", "a/b:1", "r.org:5000/a/b", "r.org:5000/a/b:1", "a@sha256:" + "0" * 64]
)
def test_any_image_can_be_named(image: str) -> None:
    assert f"image: {image}\n" in written("raycronjob", "--image", image)


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_cannot_break_the_lines_of_a_file(kind: str) -> None:
    result = run("s3://in\n* * * * * rm", "s3://out", "--cron", "0 2 * * *", "--kind", kind)
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert "control character" in result.stderr


@pytest.mark.parametrize("kind", ["raycronjob", "cronjob", "airflow"])
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("photographs", []),
        ("s3://in", ["--reference", "better"]),
        ("s3://in", ["--protect", "masks"]),
        ("s3://in", ["--prior", "p"]),
    ],
)
def test_a_path_that_only_this_machine_knows_is_refused(
    kind: str, source: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    result = run(source, "s3://out", "--cron", "0 2 * * *", "--kind", kind, *options)
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert "only this machine knows" in result.stderr
