"""Items travel between processes whole, and their pixels without being copied into new arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.codecs.codec import Picture
from pipeline.errors import CodecError, ErrorCode, RunError
from pipeline.stages.item import Item, as_table, items_of

PIXELS = arrays.arrays(
    st.sampled_from([np.uint8, np.uint16]),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
)


def _item(number: int, pixels: np.ndarray | None) -> Item:
    item = Item({"source_key": f"{number}.png"}, owned=bool(number % 2), data=bytes([number % 256]) * number)
    if pixels is not None:
        item.picture = Picture(pixels, None, "PNG", "RGB")
        item.protected = pixels[..., 0] > 100
        item.before = {"sharpness": number / 7}
    return item


@given(st.lists(st.none() | PIXELS, max_size=5), st.integers(0, 5), st.booleans())
def test_items_come_out_as_they_went_in(pixels: list[np.ndarray | None], start: int, parted: bool) -> None:
    items = [_item(number, given) for number, given in enumerate(pixels)]
    table = as_table(items)
    if parted:
        table = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    there = items_of(table.slice(start))
    assert len(there) == len(items[start:])
    for one, other in zip(there, items[start:], strict=True):
        assert (one.row, one.owned, one.data, one.before) == (
            other.row,
            other.owned,
            other.data,
            other.before,
        )
        assert (one.picture is None) == (other.picture is None)
        if one.picture is not None and other.picture is not None:
            np.testing.assert_array_equal(one.picture.pixels, other.picture.pixels)
            np.testing.assert_array_equal(one.protected, other.protected)
            assert one.picture.pixels.dtype == other.picture.pixels.dtype


def test_pixels_are_views_of_the_table() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    table = as_table([_item(1, pixels), _item(2, pixels + 1)])
    data = table["buffers"].chunk(0).values.buffers()[2]
    for item in items_of(table):
        assert item.picture is not None
        address = item.picture.pixels.__array_interface__["data"][0]
        assert data.address <= address < data.address + data.size


def test_an_error_ends_the_item_and_lets_go_what_it_held() -> None:
    item = _item(3, np.zeros((2, 2, 3), np.uint8))
    with item.timed("decode"):
        raise CodecError(ErrorCode.TRUNCATED, "the file breaks off")
    assert item.failed
    assert item.row["error_code"] == "truncated"
    assert (item.data, item.picture, item.protected) == (b"", None, None)
    assert item.timings["decode"] >= 0


def test_an_error_of_the_run_is_no_failure_of_the_image() -> None:
    item = _item(3, None)
    with item.timed("store"):
        raise RunError("no space is left")
    assert item.fatal == "no space is left"
    assert "status" not in item.row


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError()])
def test_an_error_that_nobody_expected_is_internal(error: Exception) -> None:
    item = _item(3, None)
    item.fail(error)
    assert item.row["error_code"] == "internal"
    assert type(error).__name__ in item.row["error_message"]
