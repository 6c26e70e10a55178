"""A small CMYK colour profile, made from a formula: no real one is free to ship."""

from __future__ import annotations

import struct

import numpy as np
from PIL import ImageCms

_SRGB_TO_XYZ = np.array(  # adapted to the white of profiles, D50
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_WHITE = np.array([0.9642, 1.0, 0.8249])


def cmyk_profile() -> bytes:
    """An ICC profile of ideal inks: each channel of sRGB is what two layers, ink and black, let through."""
    inks = _grid(4, 9)
    lab = _encode_lab(_srgb_to_lab((1 - inks[:, :3]) * (1 - inks[:, 3:])))
    to_lab = _lut(4, 3, 9, lab)
    steps = _grid(3, 33)
    colours = _lab_to_srgb(steps * [100, 255, 255] - [0, 128, 128])
    to_inks = _lut(3, 4, 33, np.concatenate([255 * (1 - colours), np.zeros((len(colours), 1))], axis=1))
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 11) + b"Ideal inks\0" + bytes(78),
        b"cprt": b"text\0\0\0\0CC0\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", *np.rint(_WHITE * 65536).astype(int)),
        b"A2B0": to_lab,
        b"B2A0": to_inks,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = bytearray(128)
    struct.pack_into(">I4xI4s4s4s", head, 0, offset + len(body), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    struct.pack_into(">6H4s", head, 24, 2026, 1, 1, 0, 0, 0, b"acsp")
    struct.pack_into(">3i", head, 68, *np.rint(_WHITE * 65536).astype(int))
    return bytes(head) + table + body


def srgb_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]  # without the time of its making


def _grid(channels: int, points: int) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(0, 1, points)] * channels, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, channels)


def _lut(inputs: int, outputs: int, points: int, values: np.ndarray) -> bytes:
    """A table of type `mft1`: eight bits, with curves that change nothing."""
    curve = bytes(range(256))
    matrix = struct.pack(">9i", *[65536, 0, 0, 0, 65536, 0, 0, 0, 65536])
    cells = np.rint(np.clip(values, 0, 255)).astype(np.uint8).tobytes()
    head = b"mft1\0\0\0\0" + struct.pack(">4B", inputs, outputs, points, 0)
    return head + matrix + curve * inputs + cells + curve * outputs


def _encode_lab(lab: np.ndarray) -> np.ndarray:
    return lab * [2.55, 1, 1] + [0, 128, 128]


def _srgb_to_lab(colours: np.ndarray) -> np.ndarray:
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _SRGB_TO_XYZ.T / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def _lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    middle = (lab[:, 0] + 16) / 116
    f = np.stack([middle + lab[:, 1] / 500, middle, middle - lab[:, 2] / 200], axis=1)
    ratio = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    linear = np.clip((ratio * _WHITE) @ np.linalg.inv(_SRGB_TO_XYZ).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
