"""Looking in proportion: large images cost what they show, small ones are looked at all over as ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from i2r.diffusion.sampling import Judged, Process, Query
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.screening.calibration import Calibration, Spread
from i2r.screening.regions import RegionTuning, regions
from i2r.screening.screen import screen
from i2r.screening.spots import Spots, SpotTuning
from i2r.screening.statistics import STATISTICS, Level
from i2r.screening.suspicion import SUSPICIONS
from i2r.screening.trace import Screening, Trace
from i2r.screening.typicality import Seen, measure, measure_whole

HEIGHT, WIDTH = 200, 264
COUNT = 12
FEW = SpotTuning(in_full=1 << 14, sample=4, suspects=2, at_once=3)
TILE = (80, 80)
"""Of spots: regions of 67 px, from a multiple of 8 on, in multiples of 16."""


class LocalModel:
    """Predicts what differs from the mean of three by three pixels as noise, whatever the tile."""

    device = torch.device("cpu")

    def eps(self, x: Tensor, sigma: Tensor) -> Tensor:
        smooth = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return (x - smooth) / sigma.view(-1, 1, 1, 1)


def screened(
    image: Tensor, calibration: Calibration, **more: object
) -> tuple[Screening, list[tuple[tuple[int, int], int]]]:
    """The screening of an image, and the shape and number of the tiles of every query."""
    grid = TileGrid.fitting(*image.shape[1:], longest=128, overlap=16)
    process: Process[Screening] = screen(grid.pad(image), grid, calibration, 0.05, **more)  # type: ignore[arg-type]
    evaluator, asked = FixedShapeEvaluator(LocalModel(), lambda *_: 1), []
    answer: Tensor | None = None
    while True:
        try:
            question = next(process) if answer is None else process.send(answer)
        except StopIteration as stop:
            return stop.value, asked
        if isinstance(question, Judged):
            answer = torch.full((len(regions(*question.image.shape[1:])),), -9.0)
            continue
        assert isinstance(question, Query)
        its = question.grid or grid
        asked.append((its.tile, len(its.rows) * len(its.columns)))
        [answer] = evaluator.noise([its], [question.x], [question.sigma])


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Regions at a third of all lengths, and an image that is large for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("i2r.screening.regions.REGION", RegionTuning(64))
        patch.setattr("i2r.screening.spots.SPOTS", FEW)
        patch.setattr("i2r.screening.looking.SPOTS", FEW)
        yield


@pytest.fixture(scope="module")
def clean() -> Tensor:
    """Smooth shades with a little of everything: no region is like another."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, HEIGHT // 20, WIDTH // 20, generator=generator) - 0.5
    return torch.nn.functional.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bicubic")[0].clamp(-1, 1)


@pytest.fixture(scope="module")
def fitted(clean: Tensor, calibration: Calibration) -> Calibration:
    """Calibrated on the clean image's own regions, as that model sees them."""
    model = LocalModel()
    values: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for rows, columns in regions(HEIGHT, WIDTH):
        part = clean[:, rows, columns]
        low = model.eps(part[None], torch.tensor([calibration.level]))[0]
        high = model.eps(part[None], torch.tensor([1.0]))[0]
        seen = measure(Seen(part, high), Level.HIGH) | measure(Seen(part, low), Level.LOW)
        seen = seen.with_overlays([-9.0])
        for name, value in (*seen.whole.items(), *seen.local[0].items()):
            values[name].append(value)
    clean_spreads = {name: Spread(max(of_one), 0.1, 0.05) for name, of_one in values.items()}
    return dataclasses.replace(calibration, clean=clean_spreads)


def _damaged(clean: Tensor, kind: str, rows: slice, columns: slice) -> Tensor:
    generator, image = torch.Generator().manual_seed(2), clean.clone()
    part = image[:, rows, columns]
    if kind == "tails":
        part[:, torch.rand(part.shape[1:], generator=generator) < 0.03] = 1.0
    elif kind == "streaks":
        part[:, :, ::9] = 1.0
    else:
        part += 0.12 * torch.randn(part.shape, generator=generator)
    return image.clamp(-1, 1)


@pytest.mark.parametrize("kind", sorted(SUSPICIONS))
def test_damage_in_one_corner_is_found_there_alone(clean: Tensor, fitted: Calibration, kind: str) -> None:
    corner = slice(HEIGHT - 60, HEIGHT), slice(WIDTH - 60, WIDTH)
    seen, asked = screened(_damaged(clean, kind, *corner), fitted)
    assert kind in seen.atypical
    assert seen.where[kind] == [regions(HEIGHT, WIDTH)[-1]]
    assert sum(count for _, count in asked) < 2 * COUNT


@pytest.mark.parametrize("kind", ["tails", "patchy"])
def test_damage_all_over_is_found_all_over(clean: Tensor, fitted: Calibration, kind: str) -> None:
    seen, asked = screened(_damaged(clean, kind, slice(None), slice(None)), fitted)
    assert len(seen.where[kind]) == COUNT
    assert {tile for tile, _ in asked} == {TILE}  # the same as of a clean image of this size
    if kind == "patchy":
        assert seen.noisy_part is not None
        assert seen.noisy_part.float().mean() > 0.8


def test_a_clean_image_costs_the_same_whatever_it_shows(clean: Tensor, fitted: Calibration) -> None:
    first, second = (screened(image, fitted) for image in (clean, clean.flip(1) / 2))
    for seen, asked in (first, second):
        assert not seen.where
        assert {tile for tile, _ in asked} == {TILE}
        assert sum(count for _, count in asked) <= FEW.sample + 3 * FEW.suspects


def test_a_second_look_goes_where_something_was_corrected(clean: Tensor, fitted: Calibration) -> None:
    changed, trace = [0, COUNT - 1], Trace()
    screened(clean + 0.01 * torch.randn(clean.shape), fitted, corrected=changed, trace=trace)
    looked = [bool(trace.looks[0].noise[:, rows, columns].any()) for rows, columns in regions(HEIGHT, WIDTH)]
    assert [index for index, any_noise in enumerate(looked) if any_noise] == changed


def test_drawn_regions_are_not_looked_at(clean: Tensor, fitted: Calibration) -> None:
    everywhere = _damaged(clean, "tails", slice(None), slice(None))
    seen, _ = screened(everywhere, fitted, drawn=frozenset(range(1, COUNT)))
    assert seen.where["tails"] == regions(HEIGHT, WIDTH)[:1]


def test_small_images_are_looked_at_all_over(clean: Tensor, fitted: Calibration) -> None:
    _, asked = screened(clean[:, :110, :140], fitted)
    grid = TileGrid.fitting(110, 140, 128, 16)
    assert asked == [(grid.tile, len(grid.rows) * len(grid.columns))] * 2


def test_so_are_large_ones_of_tiles_too_small_for_a_region() -> None:
    assert Spots.of(TileGrid.fitting(HEIGHT, WIDTH, 128, 16)) is not None
    assert Spots.of(TileGrid.fitting(HEIGHT, WIDTH, 64, 16)) is None


@pytest.mark.parametrize(("height", "width"), [(200, 264), (35, 2000), (90, 1000), (601, 811)])
def test_spots_hold_their_regions_and_the_sample_is_spread(height: int, width: int) -> None:
    grid = TileGrid.fitting(height, width, 128, 16)
    of_image = Spots.of(grid)
    assert of_image is not None
    sample, count = of_image.sample, len(of_image.regions)
    assert len(set(sample)) == FEW.sample
    assert max(sample) - min(sample) > count / 2
    some, whole = [0, sample[2], count - 1], torch.arange(height * width).view(1, height, width)
    painted = torch.full((1, height, width), -1)
    of_image.paint(painted, of_image.strip(grid.pad(whole), some), some)
    expected = torch.full((1, height, width), -1)
    for index in some:
        rows, columns = of_image.regions[index]
        expected[:, rows, columns] = whole[:, rows, columns]
    assert torch.equal(painted, expected)


def test_statistics_of_an_image_are_those_of_its_parts_together() -> None:
    """Of parts that begin where blocks do, however many they are."""
    noise = torch.randn(3, 256, 512, generator=torch.Generator().manual_seed(3))
    noise[:, ::8] += 1.0
    noise[:, :, ::8] += 1.0
    whole = measure_whole(Seen(noise, noise), Level.LOW)
    parts = torch.stack(noise.split(256, dim=2))
    halved = measure_whole(Seen(parts, parts), Level.LOW)
    assert halved == pytest.approx(whole, abs=0.02)
    assert whole["period"] > 0.1
