"""Keys at the destination: the source's own, or refused."""

from __future__ import annotations

import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ErrorCode, ItemError
from pipeline.records.keys import output_key
from pipeline.records.listing import to_batch
from pipeline.sources.containers import Found


@given(st.text(max_size=60))
def test_a_key_stays_within_the_destination_or_is_refused(key: str) -> None:
    try:
        output = output_key(key)
    except ItemError:
        return
    assert output == key
    path = posixpath.normpath(posixpath.join("/dest", output))
    assert path == f"/dest/{key}"
    assert not path.startswith("/dest/_i2r/")


@given(
    st.lists(st.sampled_from(["a", "..", ".", "", "_i2r", "b c", "é", "x\\y", "\n"]), min_size=1, max_size=5)
)
def test_no_way_leads_out(parts: list[str]) -> None:
    bad = set(parts) & {"..", ".", "", "x\\y", "\n"} or parts[0] == "_i2r"
    if bad:
        with pytest.raises(ItemError):
            output_key("/".join(parts))
    else:
        assert output_key("/".join(parts)) == "/".join(parts)


@pytest.mark.parametrize(
    "key", ["/etc/passwd", "C:/x.jpg", "a/" + "b" * 256, "é" * 600, "_i2r/x.jpg", "a\u2028b"]
)
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(ItemError) as caught:
        output_key(key)
    assert caught.value.code is ErrorCode.BAD_KEY


def test_the_extension_changes_only_when_the_format_does() -> None:
    assert output_key("a/b.PNG", ".png") == "a/b.PNG"
    assert output_key("a/b.tar.PNG", ".webp") == "a/b.tar.webp"
    assert output_key("a/b.jpeg") == "a/b.jpeg"


def test_a_name_that_is_no_utf8_is_refused_as_such() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")  # as a disk of the nineties has it
    [listed] = to_batch([Found(name, name, 1, "1", name)])["source_key"].to_pylist()
    with pytest.raises(ItemError, match="is not valid UTF-8"):
        output_key(listed)
    with pytest.raises(ItemError, match="has a backslash in it"):
        output_key("caf\\e9.jpg")
