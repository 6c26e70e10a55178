"""Which column of a list or a table is taken: by its name, or by what is in the first row."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.errors import SettingsError
from pipeline.sources.columns import address_column, csv_column, image_column


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("url", 0),
        ("SAMPLE_ID,URL", 1),
        ("id,image_url", 1),
        ("label,file_name,key", 1),
        ("key,Image URL", 1),
        ("label,fileName", 1),
        ('"a, b","path"', 1),
        ("\ufeffurl,label", 0),
    ],
)
def test_a_header_names_the_column(header: str, column: int) -> None:
    lines = [b"# a comment\n", b"\n", f"{header}\r\n".encode(), b"1,2,3\n"]
    assert csv_column(lines) == (column, sum(map(len, lines[:3])))


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("s/a.jpg", 0),
        ("cat,s/a.JPG", 1),
        ("image,/data/1", 1),
        ("a.jpg,https://host/img.php?id=1", 1),
        ("s3://bucket/a", 0),
    ],
)
def test_a_first_row_with_an_address_is_no_header(row: str, column: int) -> None:
    assert csv_column([b"# a comment\n", f"{row}\n".encode()]) == (column, 12)


def test_a_header_without_a_known_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="only id, photo: rename the one with the addresses"):
        csv_column([b"id,photo\n", b"1,a.jpg\n"])
    assert csv_column([]) == (0, 0)


def test_columns_of_a_table() -> None:
    text, data = pa.string(), pa.binary()
    assert address_column(pa.schema([("label", text), ("Image_URL", text)])) == "Image_URL"
    assert address_column(pa.schema([("url", text), ("jpg", data)])) is None
    assert image_column(pa.schema([("thumbnail", data), ("Image", data)])) == "Image"
    assert image_column(pa.schema([("url", text), ("jpg", data)])) == "jpg"
    names = pa.schema([("label", text), ("photo", text)])
    assert address_column(names) is None
    with pytest.raises(SettingsError, match="only label, photo: rename"):
        image_column(names)
