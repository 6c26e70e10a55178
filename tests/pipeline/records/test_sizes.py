"""Pixels that are estimated from sizes and names of files."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.records.sizes import UNKNOWN_BYTES, PixelSizes


def large(*files: tuple[str, int, int]) -> int:
    """Bytes of pixels of a large image, among as many of each name and size."""
    sizes = PixelSizes()
    for name, size, count in files:
        sizes.add(pa.record_batch({"source_key": [name] * count, "source_size": pa.array([size] * count)}))
    return sizes.large()


@pytest.mark.parametrize(
    ("name", "size", "pixels"),
    [
        ("a/b.c.JPG", 4 << 20, 32 << 20),
        ("scan.tif", 100 << 20, 128 << 20),
        ("d.png", 3 << 20, 8 << 20),
        ("table.parquet/7", -1, 8 * UNKNOWN_BYTES),
        ("empty.jpg", 0, 1),
    ],
)
def test_a_format_tells_the_pixels_of_a_byte(name: str, size: int, pixels: int) -> None:
    assert large((name, size, 10)) == pixels


def test_a_rare_scan_among_photographs_is_left_out_of_account() -> None:
    assert large(("a.jpg", 1 << 20, 5000), ("b.tif", 1 << 30, 1)) == 8 << 20
    assert large(("a.jpg", 1 << 20, 500), ("b.tif", 1 << 30, 1)) == 1 << 30
    assert large() == 0
