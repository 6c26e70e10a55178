"""Addresses that a run is given, as text: none is opened, since only the run may have the rights to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS
from pipeline.errors import SettingsError
from pipeline.storage.redaction import without_secrets


def has_protocol(address: str) -> bool:
    """Whether an address is no path of a disk."""
    return "://" in address or "::" in address


def anywhere(address: str) -> str:
    """The address, independent of the working directory."""
    return address if has_protocol(address) else os.path.abspath(address)


def extent_of(source: str) -> str:
    """The prefix of a source that is listed: of a glob, the folders before its first wildcard."""
    before, wildcard, _ = re.split(r"([*?\[]|$)", source, maxsplit=1)
    if not wildcard:
        return before
    folder, slash, _ = before.rpartition("/")
    return folder or slash or "."


def refuse_secrets(values: Mapping[str, Any], readers: str) -> None:
    """Refuse arguments and settings with a secret.

    Args:
        values: by name.
        readers: who could read them, for the error.

    Raises:
        SettingsError: a value has a secret, which the message does not repeat.
    """
    for name, value in values.items():
        if without_secrets(str(value)) != str(value):
            raise SettingsError(
                f"{name} holds a password, a token or a signature, which {readers} could read: "
                "give the address alone, and let a role or environment variables, where the run is, open it"
            )


def refuse_overlap(extent: str, dest: str) -> None:
    """Refuse a destination that overlaps with the prefix of its source that is listed.

    Raises:
        SettingsError: one of them lies within the other.
    """
    first, second = (f"{_place(address)}/" for address in (extent, dest))
    if first.startswith(second) or second.startswith(first):
        raise SettingsError(f"SOURCE {extent} and DEST {dest} overlap: choose a DEST outside of SOURCE")


def refuse_file_name(dest: str, *, exists: bool) -> None:
    """Refuse a destination that looks like the name of an image, unless it exists as a folder.

    Raises:
        SettingsError: it does.
    """
    suffix = PurePosixPath(dest).suffix.lower()
    if suffix in SUPPORTED_EXTENSIONS and not exists:
        raise SettingsError(
            f"DEST {dest} looks like an image, and would become a folder: name a folder, in which what is "
            "restored keeps its name"
        )


def _place(address: str) -> str:
    """An address to compare: a local path without links in it."""
    local = address.removeprefix("file://")
    return (address if has_protocol(local) else os.path.realpath(local)).rstrip("/")
