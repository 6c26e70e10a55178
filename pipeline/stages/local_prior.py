"""Downloads a prior to this machine's disk.

A prior's address is a built-in name, a local folder, any address that fsspec knows, or a hub id (`org/name`,
which is `hf://org/name`). A remote prior is downloaded once per machine, into a folder of its cache: the
first process downloads it, the others wait.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath

from filelock import FileLock

from i2r.errors import PriorError
from i2r.prior.folder import INDEX, PARTS, digest_prior, find_prior
from i2r.screening.calibration import CALIBRATION
from pipeline.errors import ItemError, SettingsError
from pipeline.storage.store import Store, open_store

SUFFIXES = (".json", ".safetensors")
"""Files of a prior that are downloaded: configurations and weights, no code."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_DIGEST = "sha256"


def local_prior(address: str) -> Path:
    """The folder of a prior on this machine's disk; downloads a remote prior first.

    Raises:
        SettingsError: there is no prior at the address, or it cannot be downloaded.
    """
    if "://" not in address and "::" not in address:
        try:
            return find_prior(address)
        except PriorError as error:
            if not _HUB_ID.fullmatch(address) or Path(address).exists():
                raise SettingsError(f"{error}, or an address such as s3://bucket/prior") from error
        address = f"hf://{address}"
    store = open_store(address)
    if store.is_local:
        return local_prior(store.root)
    try:
        return _brought(store, _versions(store))
    except (ItemError, OSError) as error:
        hub = " (the hub needs a network)" if address.startswith("hf://") else ""
        raise SettingsError(
            f"the prior at {store.uri()} cannot be brought here: {error}{hub}; "
            "check the address and the right to read it, or give a local copy of its folder"
        ) from error


def cache_folder() -> Path:
    """Where this machine keeps downloaded priors."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "invert2restore" / "priors"


def _versions(store: Store) -> dict[str, tuple[int, str]]:
    """Size and version of every file of a prior, by key.

    Raises:
        SettingsError: there is no prior.
        ItemError: the store cannot be listed.
    """
    names = store.names("")
    wanted = {INDEX, CALIBRATION, "config.json", "scheduler_config.json"}
    keys = [name for name in names if name in wanted or name.endswith(SUFFIXES[1])]
    keys += [
        f"{part}/{name}"
        for part in PARTS
        if part in names
        for name in store.names(part)
        if name.endswith(SUFFIXES)
    ]
    if INDEX not in keys:
        raise SettingsError(f"{store.uri()} holds no prior: there is no {INDEX} in it")
    return {key: store.describe(store.path(key)) for key in keys}


def _brought(store: Store, versions: dict[str, tuple[int, str]]) -> Path:
    """The local copy of exactly these versions; downloads it if it is not there or damaged."""
    content = json.dumps([store.uri(), versions], sort_keys=True)
    home = cache_folder() / hashlib.sha256(content.encode()).hexdigest()[:32]
    folder = home / PurePosixPath(store.root).name
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not _is_whole(home, folder):
            partial = home.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            copy = partial / folder.name
            for key, (size, _) in versions.items():
                (copy / key).parent.mkdir(parents=True, exist_ok=True)
                store.fetch(key, copy / key)
                if size not in (-1, (copy / key).stat().st_size):
                    raise OSError(f"{store.uri(key)} changed while it was read")
            (partial / _DIGEST).write_text(digest_prior(copy))
            shutil.rmtree(home, ignore_errors=True)
            partial.rename(home)
    return folder


def _is_whole(home: Path, folder: Path) -> bool:
    """Whether the copy is there, and its digest still the one that was downloaded."""
    try:
        return (home / _DIGEST).read_text() == digest_prior(folder)
    except OSError:
        return False
