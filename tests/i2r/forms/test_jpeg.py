"""What a JPEG file, or pixels that were decoded from one, determine of the clean image."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin
from textures import as_file, texture
from torch import Tensor

from i2r.errors import FormError
from i2r.forms import Jpeg
from i2r.forms.jpeg import _coefficients, _pixels, _planes, _steps
from i2r.jpeg_tables import JpegTables
from i2r.screening.calibration import Calibration

SUBSAMPLINGS = [("4:2:0", (2, 2)), ("4:4:4", (1, 1)), ("4:2:2", (1, 2))]


def _file(image: np.ndarray, quality: int, subsampling: str = "4:2:0") -> JpegImagePlugin.JpegImageFile:
    file = io.BytesIO()
    levels = np.rint(image * 255).astype(np.uint8)
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(
        file, "JPEG", quality=quality, subsampling=subsampling
    )
    picture = Image.open(file)
    assert isinstance(picture, JpegImagePlugin.JpegImageFile)
    return picture


def _decoded(image: np.ndarray, quality: int, subsampling: str = "4:2:0") -> Tensor:
    return as_file(np.asarray(_file(image, quality, subsampling).convert("RGB"), np.float32) / 255)


def _colourful(seed: int, side: int = 96) -> np.ndarray:
    """Within the range, so that nothing is clipped."""
    return 0.5 + 0.6 * (texture(seed, side) - 0.5)


@pytest.mark.parametrize(("subsampling", "sampling"), SUBSAMPLINGS)
def test_a_file_tells_its_tables(subsampling: str, sampling: tuple[int, int]) -> None:
    tables = JpegTables.of_file(_file(_colourful(0), 35, subsampling))
    assert tables == JpegTables.standard(35, sampling)
    assert tables.parameters()["sampling"] == list(sampling)


def test_gray_files_tell_their_luma() -> None:
    tables = JpegTables.of_file(_file(_colourful(0)[..., :1], 20))
    assert tables.luma == JpegTables.standard(20).luma


def test_other_colours_are_refused() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (16, 16)).save(file, "JPEG")
    with Image.open(file) as picture, pytest.raises(FormError, match="mode CMYK"):
        JpegTables.of_file(picture)  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", [10, 50, 85])
@pytest.mark.parametrize(("subsampling", "sampling"), SUBSAMPLINGS)
def test_pixels_tell_the_tables(
    calibration: Calibration, quality: int, subsampling: str, sampling: tuple[int, int]
) -> None:
    found = Jpeg.start(_decoded(_colourful(0), quality, subsampling), calibration)
    assert found.tables == JpegTables.standard(quality, sampling)


def test_clipping_does_not_mislead(calibration: Calibration) -> None:
    harsh = np.clip(0.5 + 2 * (texture(0) - 0.5), 0, 1)
    assert ((harsh == 0) | (harsh == 1)).mean() > 0.05
    assert Jpeg.start(_decoded(harsh, 20), calibration).tables.luma == JpegTables.standard(20).luma


@pytest.mark.parametrize("shape", [(96, 96), (4, 4), (8, 100)])
def test_other_images_show_no_tables(calibration: Calibration, shape: tuple[int, int]) -> None:
    for image in (as_file(texture(0)), torch.zeros(3, 96, 96), torch.ones(3, 96, 96)):
        with pytest.raises(FormError, match=r"no multiples|too small"):
            Jpeg.start(image[:, : shape[0], : shape[1]], calibration)


def test_blocks_that_were_moved_are_not_taken_for_others(calibration: Calibration) -> None:
    with pytest.raises(FormError, match="no multiples"):
        Jpeg.start(_decoded(_colourful(0), 30)[:, 3:, 5:], calibration)


@pytest.mark.parametrize(("subsampling", "sampling"), SUBSAMPLINGS)
@pytest.mark.parametrize("side", [96, 91])
def test_forward_is_what_a_file_does(subsampling: str, sampling: tuple[int, int], side: int) -> None:
    """Up to the smooth rounding, which ends up to an eighth of a step beside the multiple."""
    image = _colourful(1)[:side, :side]
    ours = Jpeg(JpegTables.standard(40, sampling)).forward(as_file(image))
    theirs = _decoded(image, 40, subsampling)
    error = (theirs - as_file(image)).square().mean()
    assert (ours - theirs).square().mean() < 0.1 * error


@pytest.mark.parametrize(("subsampling", "sampling"), SUBSAMPLINGS)
@pytest.mark.parametrize("shape", [(96, 96), (90, 70)])
def test_what_is_revealed_could_have_been_in_the_file(
    subsampling: str, sampling: tuple[int, int], shape: tuple[int, int]
) -> None:
    image = _colourful(2)[: shape[0], : shape[1]]
    y = _decoded(image, 20, subsampling)
    jpeg = Jpeg(JpegTables.standard(20, sampling))
    expected = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    revealed = jpeg.reveal(y, expected)
    steps = _steps(jpeg.tables.luma, y)
    distance = _coefficients(_planes(revealed)[:1] - _planes(y)[:1])[:, : shape[0] // 16, : shape[1] // 16]
    assert (distance.abs() < 0.5 * steps).all()
    assert (_coefficients(_planes(expected - y)[:1]).abs() > 0.5 * steps).any()
    torch.testing.assert_close(jpeg.reveal(y, revealed), revealed, atol=1e-4, rtol=0)
    # The intervals hold what was compressed, so that every move into them is a move toward it.
    x = as_file(image)
    assert (revealed - x).square().mean() < 0.97 * (expected - x).square().mean()


def test_what_could_have_been_in_the_file_is_left_alone() -> None:
    image = _colourful(3)
    y, x = _decoded(image, 20), as_file(image)
    revealed = Jpeg(JpegTables.standard(20)).reveal(y, x)
    assert (revealed - x).square().mean() < 0.02 * (y - x).square().mean()


def test_images_smaller_than_a_block_stay_as_expected() -> None:
    y, expected = torch.zeros(3, 12, 40), torch.rand(3, 12, 40)
    assert torch.equal(Jpeg(JpegTables.standard(20)).reveal(y, expected), expected)


def test_blocks_are_transformed_to_and_fro() -> None:
    planes = torch.rand(2, 24, 16, dtype=torch.float64)
    assert _coefficients(planes).shape == (2, 3, 2, 8, 8)
    torch.testing.assert_close(_pixels(_coefficients(planes)), planes)
    torch.testing.assert_close(_coefficients(planes).square().sum(), planes.square().sum())


def test_fine_tables_are_undone_less_and_those_that_only_rounded_not_at_all() -> None:
    severities = [Jpeg(JpegTables.standard(quality)).severity for quality in (10, 60, 80, 92, 98, 100)]
    assert severities == sorted(severities, reverse=True)
    assert severities[:2] == [1, 1]
    assert 0 < severities[3] < severities[2] < 1
    assert severities[4:] == [0, 0]
