"""Masks that protect parts of images: found when a source is listed, read with the images.

Pixels that are white in a mask stay unchanged in the image with the same key. The mask is part of the image's
version: adding, changing or removing a mask makes only its image a changed one.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.codecs.codec import Picture
from pipeline.errors import ErrorCode, ItemError, SettingsError
from pipeline.sources.containers import Found
from pipeline.sources.walk import Source, open_source

_MARK = "+mask:"


def open_masks(address: str, *, private: bool = False) -> Source:
    """Open the source of masks, as `open_source` does. Raises SettingsError if it is no folder or prefix."""
    source = open_source(address, private=private)
    if source.pattern is not None:
        raise SettingsError(
            f"protect {source.extent.uri()} is no folder or prefix: give one with a mask for each key"
        )
    return source


def with_masks(inputs: Iterable[Found], masks: Source) -> Iterator[Found]:
    """Yield the inputs; if an input has a mask, the mask is added to its version.

    It holds 16 bytes for each mask. Raises RunError if the masks cannot be listed.
    """
    keys, versions = array("Q"), array("Q")
    for mask in masks.objects():
        keys.append(_digest(mask.key))
        versions.append(_digest(mask.version))
    order = np.argsort(keys)
    known, marks = np.asarray(keys)[order], np.asarray(versions)[order]
    for found in inputs:
        key = _digest(found.key)
        index = int(np.searchsorted(known, np.uint64(key)))
        if index < len(known) and known[index] == key:
            found = found._replace(version=f"{found.version}{_MARK}{marks[index]:016x}")
        yield found


def has_mask(version: str) -> bool:
    """Whether the input of this version was listed with a mask."""
    return _MARK in version


def protected_pixels(mask: Picture, shape: tuple[int, ...], uri: str) -> NDArray[np.bool_]:
    """The pixels (H, W) that a mask protects: those nearer to white than to black.

    Args:
        mask: the decoded mask.
        shape: of its image, (H, W, C).
        uri: of the mask, for the error message.

    Raises:
        ItemError: mask and image differ in size.
    """
    height, width = mask.pixels.shape[:2]
    if (height, width) != shape[:2]:
        raise ItemError(
            ErrorCode.UNSUPPORTED,
            f"the mask {uri} is {width} x {height} pixels, its image {shape[1]} x {shape[0]}: "
            "give one of the same size",
        )
    return mask.pixels.mean(axis=2) > np.iinfo(mask.pixels.dtype).max / 2


def _digest(text: str) -> int:
    content = text.encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())
