"""The same on Azure's blob storage, against Azurite, which npm fetches; skipped where there is no npm."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from servers import answers, free_ports, fresh_bucket
from store_checks import check_denied, check_listing, check_objects
from test_run import restore, rows

from pipeline.errors import ErrorCode, ItemError
from pipeline.records.verify import verify_dataset
from pipeline.sources import walk
from pipeline.storage.store import open_store

pytest.importorskip("adlfs")
from azure.storage.blob import ContainerClient

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which its manual gives."""
PATIENCE = 120.0
"""Seconds in which npm may fetch Azurite and it may start."""
OPTIONS = ("--blobHost", "127.0.0.1", "--inMemoryPersistence", "--silent", "--skipApiVersionCheck")


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    """The connection string of a blob store that runs for these tests."""
    if (installed := shutil.which("azurite-blob")) is not None:
        command = [installed]
    elif (npx := shutil.which("npx")) is not None:
        command = [npx, "--yes", "--package=azurite", "azurite-blob"]
    else:
        pytest.skip("there is no npm to fetch Azurite with")
    [port] = free_ports(1)
    server = subprocess.Popen(
        [*command, *OPTIONS, "--disableTelemetry", "--blobPort", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        if not answers(port, server, PATIENCE):
            pytest.skip("npm does not fetch Azurite here, or it does not start")
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        yield f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"
    finally:
        _end_group(server)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """End what was started and what it started: npx leaves the server behind otherwise."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    server.wait()


@pytest.fixture
def container(azurite: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a fresh container."""
    # part of a client's own arguments, so that it goes with it into Ray's workers
    monkeypatch.setitem(fsspec.config.conf, "abfs", {"connection_string": azurite})
    with fresh_bucket("abfs") as address:
        yield address


def test_objects_on_azure(container: str) -> None:
    check_objects(open_store(f"{container}/dest"))


@pytest.mark.parametrize("page", [1000, 2])
def test_every_key_on_azure_is_listed(
    azurite: str, container: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE", page)
    with ContainerClient.from_connection_string(azurite, container.removeprefix("abfs://")) as client:
        check_listing(container, lambda key: client.upload_blob(key, b"four"))


def test_what_azure_denies_is_told_at_once(azurite: str, container: str) -> None:
    wrong = azurite.replace(KEY, base64.b64encode(bytes(64)).decode())
    store = open_store(f"{container}/dest", connection_string=wrong)
    check_denied(store, "a.png", patience=20)
    with pytest.raises(ItemError) as caught:
        store.names("")
    assert caught.value.code is ErrorCode.FORBIDDEN


@pytest.mark.usefixtures("ray_here")
def test_a_run_from_azure_to_azure(source: Path, container: str) -> None:
    from_store = open_store(f"{container}/source")
    for path in source.rglob("*.png"):
        from_store.write(path.relative_to(source).as_posix(), path.read_bytes())
    assert restore(f"{container}/source", f"{container}/dest").counts["restored"] == 6
    assert restore(f"{container}/source", f"{container}/dest").counts["carried"] == 6
    assert verify_dataset(f"{container}/dest").faults == []
    assert ACCOUNT not in str(rows(f"{container}/dest"))
