"""What single stages do with an image, without Ray."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from pipeline.codec import decode
from pipeline.item import Item, as_table
from pipeline.settings import RunSettings
from pipeline.stages import EncodeAndStore, Job
from pipeline.storage import open_store


@pytest.mark.parametrize("status", ["restored", "unchanged", "rejected"])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_what_a_restoration_did_without_is_told(tmp_path: Path, status: str, format: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 30)).save(stream, "PNG")
    row = {"run_id": "run", "source_key": "a.png", "source_uri": "file:///a.png", "status": status}
    item = Item(row, owned=False, data=stream.getvalue(), picture=decode(stream.getvalue(), max_pixels=1000))
    item.losses = ("smaller tile",)
    extension = {"PNG": ".png", "JPEG": ".jpg"}[format]
    store = open_store(str(tmp_path))
    job = Job(store, store, RunSettings(format=format), {"run_id": "run"}, extension)
    (found,) = EncodeAndStore(job)(as_table([item])).to_pylist()
    assert (found["status"], found["losses"]) == (status, ["smaller tile"])
    assert (tmp_path / f"a{extension}").exists()
