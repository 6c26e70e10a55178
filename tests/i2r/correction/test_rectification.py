"""Corrections, on image models whose noise is known exactly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from image_models import GaussianImages, Overlay
from torch import Tensor

from i2r.correction.denoising import find_noisy_part, luma_share, remove_noise, remove_noise_in_part
from i2r.correction.rectification import (
    fill_all,
    fill_damage,
    fill_lines,
    fill_missing,
    fill_overlays,
    fill_streaks,
    joined,
    regenerate,
    remove_blocks,
    sharpen,
)
from i2r.correction.toning import luma_of
from i2r.diffusion.sampling import Process, Query, counted, drive, generate, levels
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.forms import Noise
from i2r.screening.calibration import Calibration, Spread
from i2r.screening.spectrum import log_band_power
from i2r.screening.typicality import log_scale

GRID = TileGrid.whole(64, 64)
EVERYWHERE = [(slice(0, 64), slice(0, 64))]
LEFT_HALF = [(slice(0, 64), slice(0, 32))]


def _psnr(x: Tensor, y: Tensor) -> float:
    return -10 * math.log10((x - y).square().mean().item() / 4)


def _noise(level: float, seed: int = 0) -> Tensor:
    return level * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("colour", [-1.0, 1.0])
def test_specks_are_filled_and_the_rest_is_left_alone(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration, colour: float
) -> None:
    specks = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.015
    y = torch.where(specks, colour, waves)
    x, mask = smooth_images.answer(fill_damage(y, GRID, calibration, EVERYWHERE))
    assert x.shape == y.shape
    assert mask.shape == (64, 64)
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    visible = specks & ((y - waves).square().mean(dim=0).sqrt() > 0.4)
    assert visible.sum() > 20
    assert mask[visible].float().mean() > 0.95
    assert mask.float().mean() < 0.05
    assert _psnr(x, waves) > _psnr(y, waves) + 10


def test_damage_is_filled_where_it_was_found_only(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    specks = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.015
    y = torch.where(specks, 1.0, waves)
    x, mask = smooth_images.answer(fill_damage(y, GRID, calibration, LEFT_HALF))
    assert mask[:, :32].any()
    assert not mask[:, 32:].any()
    assert torch.equal(x[:, :, 32:], y[:, :, 32:])


def test_what_was_found_first_stays_found(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    specks = torch.zeros(64, 64, dtype=torch.bool)
    specks[8::16, 8::16] = True
    y = torch.where(specks, 1.0, waves)
    looks = iter([specks, torch.zeros_like(specks)])
    monkeypatch.setattr("i2r.correction.rectification.damaged", lambda magnitude: next(looks))
    _, mask = smooth_images.answer(fill_damage(y, GRID, calibration, EVERYWHERE))
    visible = specks & ((y - waves).square().mean(dim=0).sqrt() > 0.4)
    assert mask[visible].all()


def test_damage_is_looked_for_with_a_margin(waves: Tensor, calibration: Calibration) -> None:
    asked = next(fill_damage(waves, GRID, calibration, EVERYWHERE))
    assert isinstance(asked, Query)
    assert asked.grid == GRID.framed()
    assert torch.equal(asked.grid.crop(asked.x), waves)


@pytest.mark.parametrize("streaked", [False, True])
def test_what_is_known_to_be_lost_is_found_be_it_specks_or_streaks(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration, streaked: bool
) -> None:
    missing = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.015
    if streaked:
        missing[:], rows = False, torch.arange(64)
        missing[rows, 22 + rows // 8] = True
    y = torch.where(missing, 1.0, waves)
    x, mask = smooth_images.answer(fill_missing(y, GRID, calibration))
    visible = missing & ((y - waves).square().mean(dim=0).sqrt() > 0.4)
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    assert mask[visible].float().mean() > 0.95
    assert mask.float().mean() < 0.05
    assert _psnr(x, waves) > _psnr(y, waves) + 5


def test_a_lost_line_is_found_whole(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    y = waves.clone()
    y[:, 8:56, 30:32] = 1.0
    _, mask = smooth_images.answer(fill_missing(y, GRID, calibration))
    assert mask[10:54, 30:32].float().mean() > 0.9
    assert mask.float().mean() < 0.1


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (31, 64)])
def test_lost_pixels_of_small_images_are_looked_for_without_regions(
    smooth_images: GaussianImages, calibration: Calibration, shape: tuple[int, int]
) -> None:
    grid = TileGrid(*shape, (64, 64), 0)
    y = grid.pad(torch.zeros(3, *shape))
    x, mask = smooth_images.answer(fill_missing(y, grid, calibration))
    assert torch.equal(x, y)
    assert not mask.any()


@pytest.mark.parametrize("transposed", [False, True])
def test_streaks_are_filled_and_the_rest_is_left_alone(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration, transposed: bool
) -> None:
    rows = torch.arange(64)
    streaks = torch.zeros(64, 64, dtype=torch.bool)
    for start in (5, 22, 41):
        streaks[rows, start + rows // 8] = True
    streaks = streaks.T if transposed else streaks
    y = torch.where(streaks, 1.0, waves)
    x, mask = smooth_images.answer(fill_lines(y, GRID, calibration, EVERYWHERE))
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    visible = streaks & ((y - waves).square().mean(dim=0).sqrt() > 0.4)
    assert mask[visible].float().mean() > 0.9
    assert mask.float().mean() < 0.12
    assert _psnr(x, waves) > _psnr(y, waves) + 8


def test_lines_are_streaks_where_they_lie_over_the_scene(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    """Seen by the network of overlays, too, in the left half alone; the right one has lines of its own."""
    halves = [*LEFT_HALF, (slice(0, 64), slice(32, 64))]
    y = waves.clone()
    y[:, :, 5::9] = 1.0
    over = torch.full((64, 64), -9.0)
    over[:48, 5:32:9] = 0.0
    lines = smooth_images.answer(fill_lines(y, GRID, calibration, halves))[1]
    x, mask = smooth_images.answer(fill_streaks(y, GRID, calibration, halves), Overlay(over))
    assert lines[:, :32].any()
    assert lines[:, 32:].any()
    assert torch.equal(mask[:, :32], lines[:, :32])
    assert not mask[:, 32:].any()
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    assert not torch.equal(x, y)
    assert not smooth_images.answer(fill_streaks(y, GRID, calibration, halves))[1].any()


@pytest.mark.parametrize("veiled", [False, True])
def test_what_lies_over_a_scene_is_filled_or_lifted_where_it_was_found(
    smooth_images: GaussianImages,
    waves: Tensor,
    calibration: Calibration,
    veiled: bool,
) -> None:
    blots = torch.zeros(64, 64, dtype=torch.bool)
    blots[20:40, 6:26] = blots[20:40, 38:58] = True
    over = 0.6 * (waves + 1) - 1 if veiled else torch.ones_like(waves)
    y = torch.where(blots, over, waves)
    logits = torch.where(blots, 9.0, -9.0)
    x, mask = smooth_images.answer(fill_overlays(y, GRID, calibration, LEFT_HALF), Overlay(logits))
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    assert not mask[:, 32:].any()
    assert mask[20:40, 6:26].float().mean() > 0.9
    left = slice(None), slice(None), slice(0, 32)
    assert _psnr(x[left], waves[left]) > _psnr(y[left], waves[left]) + 8


@pytest.mark.parametrize("filled_before", [False, True])
def test_what_specks_were_taken_for_is_filled_once(
    smooth_images: GaussianImages,
    waves: Tensor,
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
    filled_before: bool,
) -> None:
    """Faint evidence beside filled specks is no overlay; alone, it was detected at a rate."""
    faint = torch.full((64, 64), -9.0)
    faint[20:40, 6:26] = 9.0  # of an evidence that one clean photograph in thirty has
    clean = {**calibration.clean, "overlay": Spread(-2.0, 1.0, 1.0)}
    y = torch.where(faint > 0, torch.ones_like(waves), waves)
    if filled_before:
        y[:, 50, ::7] = 1.0
    where = {"tails": EVERYWHERE, "overlay": EVERYWHERE} if filled_before else {"overlay": EVERYWHERE}
    calibration = dataclasses.replace(calibration, clean=clean)
    _, masks = smooth_images.answer(fill_all(y, GRID, calibration, where), Overlay(faint, log_odds=0.0))
    mask = joined(masks, y)
    assert mask.any()
    assert mask[faint > 0].all() != filled_before


@pytest.mark.parametrize(("ground", "filled"), [(-0.8, False), (0.3, True)])
def test_bright_points_on_a_dark_ground_are_stars(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration, ground: float, filled: bool
) -> None:
    """On a ground that is not dark, the same points are pixels that a sensor lost."""
    y = 0.1 * waves + ground
    y[:, 4::12, 5::12] = 1.0
    x, mask = smooth_images.answer(fill_damage(y, GRID, calibration, EVERYWHERE))
    assert mask[4::12, 5::12].all() == filled
    assert torch.equal(x, y) != filled


def test_noise_in_a_part_is_removed_and_the_rest_is_left_alone(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    calibration = dataclasses.replace(
        calibration, clean={**calibration.clean, "patchy": Spread(-1.1, 0.2, 0.07)}
    )
    y = waves.clone()
    y[:, :, :32] += _noise(0.2)[:, :, :32]
    noisy = smooth_images.answer(find_noisy_part(y, GRID, calibration, LEFT_HALF))
    x, mask = smooth_images.answer(remove_noise_in_part(y, noisy, GRID, calibration, 5))
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    assert mask[:, :32].float().mean() > 0.95
    assert mask[:, 44:].float().mean() < 0.05
    assert _psnr(x, waves) > _psnr(y, waves) + 10


def test_undamaged_images_are_not_filled(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    x, mask = smooth_images.answer(fill_damage(waves, GRID, calibration, EVERYWHERE))
    assert torch.equal(x, waves)
    assert not mask.any()


@pytest.mark.parametrize(("entry", "steps"), [(0.2, 5), (0.03, 2), (1.0, 12)])
def test_regeneration_is_generation_down_to_a_fixed_share(
    white_images: GaussianImages, entry: float, steps: int
) -> None:
    y = _noise(1.0)
    x, nfe = white_images.answer(counted(regenerate(y, entry, steps)))
    assert nfe == steps
    sigmas = levels(entry / 10, entry, steps - 1)
    torch.testing.assert_close(x, white_images.answer(generate(y, sigmas)))


@pytest.fixture
def own_calibration(smooth_images: GaussianImages, waves: Tensor, calibration: Calibration) -> Calibration:
    """The entry scales as the image model itself sees noise of known level."""
    entry = {
        level: log_scale(smooth_images.eps(waves + _noise(level, seed=1), level))
        for level in levels(0.02, 0.8, 12)
    }
    return dataclasses.replace(calibration, entry_scale=entry)


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
def test_noise_is_removed_from_its_own_level(
    smooth_images: GaussianImages, waves: Tensor, own_calibration: Calibration, level: float
) -> None:
    y = waves + _noise(level)
    x = smooth_images.answer(remove_noise(y, GRID, own_calibration, steps=5))
    assert _psnr(x, waves) > _psnr(y, waves) + 6
    # Where the process enters: at the level at which most of its steps begin.
    asked = _levels_asked(smooth_images, remove_noise(y, GRID, own_calibration, steps=5))
    assert asked[-5] == pytest.approx(level, rel=0.1)


def test_noise_beyond_the_calibrated_levels_is_read_at_their_end(
    smooth_images: GaussianImages, waves: Tensor, own_calibration: Calibration
) -> None:
    asked = _levels_asked(smooth_images, remove_noise(waves + _noise(5.0), GRID, own_calibration, steps=3))
    assert asked[-3] == pytest.approx(0.8)


@pytest.mark.parametrize("level", [0.0, 2 * 2 / 255])
def test_noise_as_faint_as_photographs_have_it_stays(
    smooth_images: GaussianImages, waves: Tensor, own_calibration: Calibration, level: float
) -> None:
    """Not a bit moves: 2 of 255 are left."""
    y = waves + _noise(level)
    assert smooth_images.answer(remove_noise(y, GRID, own_calibration, steps=5)) is y


def test_fainter_noise_is_entered_the_less_deep(
    smooth_images: GaussianImages, waves: Tensor, own_calibration: Calibration
) -> None:
    shares = []
    for level in (0.035, 0.045, 0.06):
        asked = _levels_asked(
            smooth_images, remove_noise(waves + _noise(level), GRID, own_calibration, steps=5)
        )
        shares.append(asked[-5] / level)
    assert shares == sorted(shares)
    assert shares[0] < 0.6
    assert shares[-1] == pytest.approx(1.05, rel=0.05)


def _colour_noise(level: float) -> Tensor:
    """Noise without luma."""
    noise = _noise(level)
    return noise - luma_of(noise)


def test_noise_of_the_colours_leaves_the_luma(
    smooth_images: GaussianImages, waves: Tensor, own_calibration: Calibration
) -> None:
    y = waves + _colour_noise(0.2)
    x = smooth_images.answer(remove_noise(y, GRID, own_calibration, steps=5))
    assert _psnr(x, waves) > _psnr(y, waves) + 6
    torch.testing.assert_close(luma_of(x), luma_of(y), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("colours", "each", "share"), [(0.2, 0.0, 0), (0.2, 0.02, 0), (0.0, 0.1, 1)])
def test_the_luma_changes_as_far_as_it_is_noisy(
    waves: Tensor, colours: float, each: float, share: float
) -> None:
    noise = _colour_noise(colours) + each * _noise(1.0, seed=1)
    assert luma_share(waves + noise) == share
    assert luma_share(waves[:1]) == 1


def test_smoother_noise_is_read_at_the_level_at_which_the_prior_sees_it(
    smooth_images: GaussianImages, waves: Tensor, own_calibration: Calibration
) -> None:
    """Its finest differences measure a third of it."""
    y = waves + F.avg_pool2d(F.pad(_noise(0.6), (0, 1, 0, 1), mode="reflect"), 2, stride=1)
    white = Noise.start(y, own_calibration).level
    asked = _levels_asked(smooth_images, remove_noise(y, GRID, own_calibration, steps=5))
    assert white < 0.2
    assert asked[-5] == pytest.approx(0.3, rel=0.2)


def test_the_walk_to_the_noise_level_is_short(
    smooth_images: GaussianImages, waves: Tensor, own_calibration: Calibration
) -> None:
    """It starts at the level at which damage is detected, and goes the right way."""
    for level in (0.1, 0.5):
        asked = _levels_asked(smooth_images, remove_noise(waves + _noise(level), GRID, own_calibration, 2))
        assert len(asked) - 2 <= 8


def _blocks(strength: float) -> Tensor:
    """Steps of an 8-pixel grid, (3, 64, 64)."""
    steps = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(5))
    return strength * steps.repeat_interleave(8, 1).repeat_interleave(8, 2)


@pytest.mark.parametrize("intercept", [-50.0, 50.0])
def test_blocks_are_never_entered_deeper_than_calibrated(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration, intercept: float
) -> None:
    wild = dataclasses.replace(calibration, block_entry=(intercept, 1.0))
    asked = _levels_asked(smooth_images, remove_blocks(waves + _blocks(0.2), GRID, wild, steps=4))
    assert asked[0] == calibration.level
    assert asked[1] == pytest.approx(0.01 if intercept < 0 else 0.25)
    assert len(asked) == 5


def test_faint_blocks_are_entered_less_deep(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    """A camera's own good compression is none to undo."""
    clean = {**calibration.clean, "period": Spread(0.02, 0.02, 0.02)}
    level = dataclasses.replace(calibration, clean=clean, block_entry=(math.log(0.1), 0.0))
    y = waves + _noise(0.05)
    entries = [
        _levels_asked(smooth_images, remove_blocks(y + _blocks(strength), GRID, level, steps=4))[1]
        for strength in (0.3, 1.0)
    ]
    assert entries == sorted(entries)
    assert entries[-1] == pytest.approx(0.1)
    assert smooth_images.answer(remove_blocks(y, GRID, level, steps=4)) is y


def test_sharpening_nears_the_original(calibration: Calibration) -> None:
    """On images of the spectrum that the model and the calibration know."""
    images = GaussianImages(lambda frequency: 1e-3 / (frequency.square() + 1e-4))
    white = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(3))
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None])
    spectrum = torch.fft.rfft2(white) * images.power(frequency).sqrt()
    sharp = torch.fft.irfft2(spectrum)
    blurred = torch.fft.irfft2(spectrum * torch.exp(-2 * math.pi**2 * 1.5**2 * frequency.square()))
    known = dataclasses.replace(calibration, spectrum=tuple(log_band_power(sharp).tolist()))
    x = images.answer(sharpen(blurred, GRID, known))
    assert _psnr(x, sharp) > _psnr(blurred, sharp) + 1
    untouched = images.answer(sharpen(sharp, GRID, known))
    assert _psnr(untouched, sharp) > _psnr(blurred, sharp) + 3


def _levels_asked(images: GaussianImages, process: Process[Tensor]) -> list[float]:
    """The noise levels of a process's queries, in order."""
    asked: list[float] = []

    def watched() -> Process[None]:
        query = next(process)
        while True:
            asked.append(query.sigma)
            answer = yield query
            try:
                query = process.send(answer)
            except StopIteration:
                return

    images.answer(watched())
    return asked


class Smooth:
    """Predicts what differs from the mean of five by five pixels as noise."""

    device = torch.device("cpu")

    def eps(self, x: Tensor, sigma: Tensor) -> Tensor:
        mean = F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
        return (x - mean) / sigma.view(-1, 1, 1, 1)


class Counting(FixedShapeEvaluator):
    """Counts tiles; asks for those without a wanted pixel, too, if it is thorough."""

    def __init__(self, *, thorough: bool) -> None:
        super().__init__(Smooth(), lambda *_: 1)
        self.thorough, self.tiles = thorough, 0

    def noise(
        self,
        grids: Sequence[TileGrid],
        canvases: Sequence[Tensor],
        sigmas: Sequence[float],
        wanted: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor]:
        return super().noise(grids, canvases, sigmas, None if self.thorough else wanted)

    def eps(self, tiles: Tensor, sigmas: Tensor) -> Tensor:
        self.tiles += len(tiles)
        return super().eps(tiles, sigmas)


@pytest.mark.parametrize("fill", [fill_damage, fill_lines])
def test_damage_is_corrected_in_the_tiles_that_it_touches(
    fill: Callable[..., Process[tuple[Tensor, Tensor]]], calibration: Calibration
) -> None:
    """With the same bytes as if all of the image were looked at."""
    grid, part = TileGrid(100, 300, (48, 48), 8), (slice(50, 100), slice(200, 300))
    y = 0.3 * torch.sin(torch.arange(300) / 9).expand(3, *grid.canvas_shape[:1], 300)
    y = F.pad(y, (0, grid.canvas_shape[1] - 300, 0, 0)).clone()
    y[:, 60:90, 205:295:7] = 1.0
    found, tiles = [], []
    for thorough in (True, False):
        evaluator = Counting(thorough=thorough)
        found += drive([fill(y, grid, calibration, [part])], [grid], evaluator)
        tiles.append(evaluator.tiles)
    (x, mask), (again, mask_again) = found
    assert mask.any()
    assert torch.equal(mask, mask_again)
    assert torch.equal(x, again)
    assert tiles[1] < 0.6 * tiles[0]


def test_so_is_noise_in_a_part(calibration: Calibration) -> None:
    grid = TileGrid(100, 300, (48, 48), 8)
    noisy = torch.zeros(grid.canvas_shape, dtype=torch.bool)
    noisy[55:100, 210:300] = True
    y = torch.zeros(3, *grid.canvas_shape)
    y += 0.2 * noisy * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    found, tiles = [], []
    for thorough in (True, False):
        evaluator = Counting(thorough=thorough)
        found += drive([remove_noise_in_part(y, noisy, grid, calibration, 5)], [grid], evaluator)
        tiles.append(evaluator.tiles)
    (x, mask), (again, _) = found
    assert mask.any()
    assert torch.equal(x, again)  # what the model sees of a pixel lies in the tiles of its context
    assert tiles[1] < 0.6 * tiles[0]
