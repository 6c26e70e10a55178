"""Bringing a prior to this machine: whole or absent, once, and only what is wanted of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from i2r import RestoreSettings
from i2r.prior.folder import built_in_priors, digest_prior
from pipeline.errors import RunError, SettingsError
from pipeline.stages.local_prior import cache_folder, local_prior
from pipeline.stages.restoring import PriorIdentity, PriorRestorerFactory

BUILT_IN = built_in_priors()["photo-64"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of each test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def put(folder: Path, address: str) -> str:
    """Store a prior at an address, which is returned."""
    fs, path = fsspec.core.url_to_fs(address)
    for file in folder.rglob("*"):
        if file.is_file():
            fs.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return address


def test_what_is_on_this_machine_is_used_where_it_lies(tmp_path: Path, cache: Path) -> None:
    folder = Path(shutil.copytree(BUILT_IN, tmp_path / "prior"))
    assert local_prior("photo-64") == BUILT_IN
    assert local_prior(str(folder)) == local_prior(folder.as_uri()) == folder
    assert not cache.exists()


def test_a_prior_in_a_bucket_is_brought_once(bucket: str, cache: Path) -> None:
    address = put(BUILT_IN, f"{bucket}/deep/photo")
    fsspec.filesystem("s3").pipe_file(f"{address}/unet/optimizer.bin", b"what nobody needs")
    folder = local_prior(address)
    assert folder.name == "photo"
    assert digest_prior(folder) == digest_prior(BUILT_IN)
    assert not list(folder.rglob("*.bin"))
    assert not list(folder.glob("*.png"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert local_prior(f"{address}/") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert not list(cache.glob("*.partial"))


def test_another_version_is_another_copy(bucket: str) -> None:
    address = put(BUILT_IN, f"{bucket}/photo")
    first = local_prior(address)
    card = f"{address}/calibration.json"
    fs = fsspec.filesystem("s3")
    fs.pipe_file(card, fs.cat_file(card).replace(b"0.06", b"0.07"))
    second = local_prior(address)
    assert second != first
    assert digest_prior(second) != digest_prior(first)


def test_a_damaged_copy_is_brought_again(bucket: str) -> None:
    folder = local_prior(put(BUILT_IN, f"{bucket}/photo"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert local_prior(f"{bucket}/photo") == folder
    assert digest_prior(folder) == digest_prior(BUILT_IN)
    (folder / "model_index.json").unlink()
    shutil.rmtree(folder / "unet")
    assert digest_prior(local_prior(f"{bucket}/photo")) == digest_prior(BUILT_IN)


def test_many_processes_bring_it_once(bucket: str, cache: Path) -> None:
    address = put(BUILT_IN, f"{bucket}/photo")
    script = (
        "import sys\n"
        "from pipeline.stages.local_prior import local_prior\n"
        "from pipeline.storage.store import Store\n"
        "fetch = Store.fetch\n"
        "def counted(store, key, file):\n"
        "    print(key)\n"
        "    fetch(store, key, file)\n"
        "Store.fetch = counted\n"
        "local_prior(sys.argv[1])\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, address], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    fetched = [key for process in running for key in process.communicate()[0].split()]
    assert all(process.returncode == 0 for process in running)
    assert len(fetched) == len(set(fetched)) == 5
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("no-such-prior", "no prior 'no-such-prior'"),
        ("{bucket}/nothing", "holds no prior: there is no model_index.json in it"),
        ("s3://no-such-bucket-here/prior", "no-such-bucket-here/prior"),
        ("{tmp}", "no prior '{tmp}'"),
        ("file://{tmp}/nowhere", "no prior '{tmp}/nowhere'"),
        ("nonsense://x/y", "cannot open nonsense://x/y"),
    ],
)
def test_where_there_is_no_prior_it_is_said(bucket: str, tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        local_prior(address.format(bucket=bucket, tmp=tmp_path))
    assert words.format(tmp=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_id_without_a_network_says_so() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"  # where nobody listens
        script = (
            "from pipeline.errors import SettingsError\n"
            "from pipeline.stages.local_prior import local_prior\n"
            "try:\n"
            "    local_prior('org/prior')\n"
            "except SettingsError as error:\n"
            "    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"HF_ENDPOINT": endpoint},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "the prior at hf://org/prior cannot be brought here" in done.stdout
    assert "the hub needs a network" in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_prior_of_a_run_is_the_same_on_every_machine(bucket: str) -> None:
    address = put(BUILT_IN, f"{bucket}/photo")
    factory = PriorRestorerFactory(address, RestoreSettings())
    assert factory.identity() == PriorIdentity("photo", digest_prior(BUILT_IN))
    assert factory().prior.sha256 == digest_prior(BUILT_IN)
    card = f"{address}/calibration.json"
    fs = fsspec.filesystem("s3")
    fs.pipe_file(card, fs.cat_file(card).replace(b"0.06", b"0.07"))
    with pytest.raises(RunError, match="not the one that the run began with"):
        factory()
