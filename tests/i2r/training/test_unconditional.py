"""Images drawn from a prior alone."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from i2r.prior.network import Prior
from i2r.training.unconditional import draw, main


def test_drawn_images_are_within_range_and_repeat(tiny: Prior) -> None:
    images = draw(tiny, 3, 32, steps=4)
    assert images.shape == (3, 3, 32, 32)
    assert -1 <= images.min() < images.max() <= 1
    assert torch.equal(images, draw(tiny, 3, 32, steps=4))
    assert not torch.equal(images, draw(tiny, 3, 32, steps=4, seed=1))


def test_a_sheet_of_drawn_images_is_a_picture(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.png"
    main(["--prior", str(tiny_folder), "--out", str(out), "--rows", "2", "--side", "16"])
    with Image.open(out) as sheet:
        assert sheet.size == (8 * 16, 2 * 16)
