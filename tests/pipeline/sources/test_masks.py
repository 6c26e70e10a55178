"""What a mask protects, and that it belongs to the version of its image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.codecs.codec import Picture, decode
from pipeline.errors import ItemError, SettingsError
from pipeline.sources.containers import Found
from pipeline.sources.masks import has_mask, open_masks, protected_pixels, with_masks


def listed(*keys: str) -> list[Found]:
    return [Found(key, f"/{key}", 1, "v1", f"file:///{key}") for key in keys]


def versions(folder: Path) -> list[str]:
    inputs = listed("a/1.png", "2.png", "a/3.png")
    return [found.version for found in with_masks(inputs, open_masks(str(folder)))]


def test_a_mask_belongs_to_the_version_of_its_image_alone(tmp_path: Path) -> None:
    assert versions(tmp_path) == ["v1"] * 3
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_text("one")
    (tmp_path / "a/2.png").write_text("of no image")
    first, *others = versions(tmp_path)
    assert has_mask(first)
    assert others == ["v1", "v1"]
    assert versions(tmp_path)[0] == first
    (tmp_path / "a/1.png").write_text("another")
    changed = versions(tmp_path)[0]
    assert has_mask(changed)
    assert changed != first


def picture(image: Image.Image, format: str) -> Picture:
    data = io.BytesIO()
    image.save(data, format)
    return decode(data.getvalue(), max_pixels=10_000)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_white_is_protected_in_every_format(mode: str, format: str) -> None:
    mask = Image.new("L", (16, 8), 0)
    mask.paste(255, (0, 0, 8, 8))
    found = protected_pixels(picture(mask.convert(mode), format), (8, 16, 3), "m")
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, np.tile(np.arange(16) < 8, (8, 1)))


@pytest.mark.parametrize("mode", ["1", "I;16"])
def test_masks_may_have_any_depth(mode: str) -> None:
    white = Image.new(mode, (4, 4), 65535 if mode == "I;16" else 1)
    assert protected_pixels(picture(white, "PNG"), (4, 4, 1), "m").all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ItemError, match="the mask m is 16 x 8 pixels, its image 8 x 16: give"):
        protected_pixels(picture(Image.new("L", (16, 8)), "PNG"), (16, 8, 3), "m")


def test_masks_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mask.png").touch()
    with pytest.raises(SettingsError, match=r"mask\.png is no folder or prefix"):
        open_masks(str(tmp_path / "mask.png"))
    with pytest.raises(SettingsError, match="does not exist"):
        open_masks(str(tmp_path / "nowhere"))
