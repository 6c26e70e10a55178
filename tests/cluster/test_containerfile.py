"""The container files: pinned, in two stages, without root; their steps are run where no engine is."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FILES = ["Containerfile.cpu", "Containerfile.cuda"]


def steps(file: str) -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines joined."""
    text = (ROOT / "cluster" / file).read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [
        (word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")
    ]


def copied(file: str) -> list[str]:
    """What is copied from the repository."""
    arguments = [shlex.split(rest) for word, rest in steps(file) if word == "COPY" and "--from" not in rest]
    return [source for each in arguments for source in each[:-1]]


def environment(file: str) -> dict[str, str]:
    """The variables that a file sets."""
    (rest,) = (rest for word, rest in steps(file) if word == "ENV")
    return dict(each.split("=", 1) for each in shlex.split(rest))


@pytest.mark.parametrize("file", FILES)
def test_two_stages_on_a_pinned_base_end_without_root(file: str) -> None:
    instructions = steps(file)
    (base,) = (
        rest.partition("=")[2] for word, rest in instructions if word == "ARG" and rest.startswith("BASE")
    )
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base)
    assert [rest for word, rest in instructions if word == "FROM"] == ["${BASE} AS build", "${BASE}"]
    assert [rest for word, rest in instructions if word == "USER"] == ["1000:1000"]
    assert instructions.index(("USER", "1000:1000")) < instructions.index(("RUN", "i2r --version"))
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "CMD"}
    assert {word for word, _ in instructions} <= known


@pytest.mark.parametrize("file", FILES)
def test_what_is_copied_is_there_and_reaches_the_builder(file: str) -> None:
    patterns = (ROOT / ".dockerignore").read_text().split()
    assert patterns[0] == "*"
    for source in copied(file):
        assert (ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, pattern[1:]) for pattern in patterns if pattern.startswith("!"))


@pytest.mark.parametrize("file", FILES)
def test_installs_are_pinned_by_the_locks(file: str) -> None:
    installs = [rest for word, rest in steps(file) if word == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    for install in installs:
        (lock,) = re.findall(r"--(?:requirement|constraint) (\S+)", install)
        assert (ROOT / lock).is_file()


@pytest.mark.parametrize("file", FILES)
def test_the_lock_holds_every_package_that_the_image_takes(file: str) -> None:
    installs = [
        shlex.split(rest)[-1] for word, rest in steps(file) if word == "RUN" and "pip install" in rest
    ]
    extras = re.findall(r"\w+", installs[-1])
    # Archives lie anywhere, and hold what phones make; the head of a cluster may start nodes.
    assert set(extras) == {"s3", "gcs", "azure", "heif", "rayup"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    lock = (ROOT / "requirements" / "image.txt").read_text()
    pinned = {
        name: Version(version) for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)
    }
    for requirement in map(Requirement, wanted):
        assert pinned[requirement.name] in requirement.specifier


@pytest.mark.parametrize("file", FILES)
def test_the_image_has_what_ray_up_wants_of_it(file: str) -> None:
    """Copies go through rsync in the container, into the home that the image names; the head starts nodes."""
    assert environment(file)["HOME"] == "/home/i2r"
    (line,) = (rest for word, rest in steps(file) if word == "RUN" and "apt-get" in rest)
    assert {"rsync", "openssh-client"} <= set(line.split())
    lock = (ROOT / "requirements" / "image.txt").read_text()
    pinned = {Requirement(line.split("#")[0]).name for line in lock.splitlines() if line and line[0] != "#"}
    assert {"boto3", "google-api-python-client", "google-auth-httplib2", "httplib2"} <= pinned


@pytest.mark.parametrize("file", FILES)
def test_a_login_shell_finds_the_program_too(file: str, tmp_path: Path) -> None:
    (line,) = (rest for word, rest in steps(file) if word == "RUN" and "/etc/profile.d/" in rest)
    script = tmp_path / "i2r.sh"
    subprocess.run(["sh", "-c", re.sub(r"/etc/profile\.d/\S+", shlex.quote(str(script)), line)], check=True)
    done = subprocess.run(
        ["sh", "-c", f'PATH=/usr/local/bin:/usr/bin:/bin; . {shlex.quote(str(script))}; echo "$PATH"'],
        capture_output=True,
        text=True,
        check=True,
    )
    path = environment(file)["PATH"].removesuffix(":$PATH")
    assert done.stdout == f"{path}:/usr/local/bin:/usr/bin:/bin\n"


def test_what_is_copied_is_enough_to_build_and_start_the_program(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for each in copied("Containerfile.cpu"):
        if (ROOT / each).is_dir():
            shutil.copytree(ROOT / each, source / each, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / each, source / each)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True, stdin=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    # As the image's last step does; the packages that it needs are those of this environment.
    done = subprocess.run(
        [sys.executable, "-c", "from jobs.cli import main; main()", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": ""},
    )
    assert re.fullmatch(r"i2r, version \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("file", FILES)
def test_shell_steps_are_what_a_shell_takes(file: str) -> None:
    for word, rest in steps(file):
        if word == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True)
