"""The actor's class by itself: types, and one bad image among good ones."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from standin import BROKEN, CLEAN, SHARP, Answer, BoxBlur, StandIn

from i2r import Degraded, RestoreSettings
from i2r.prior.folder import built_in_priors
from pipeline.errors import ErrorCode, ItemError, SettingsError
from pipeline.records.findings import to_column
from pipeline.stages import restoring
from pipeline.stages.restoring import (
    PriorIdentity,
    PriorRestorerFactory,
    RestoreActor,
    Restored,
    describe,
    from_float,
    to_float,
)


def image(mark: int = 100, side: int = 8, channels: int = 3) -> np.ndarray:
    pixels = np.full((side, side, channels), 50, np.uint8)
    pixels[0, 0] = mark
    return pixels


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), (3, 4, 1)))
def test_pixels_survive_the_way_through_floats(pixels: np.ndarray) -> None:
    floats = to_float(pixels)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(from_float(floats, pixels.dtype), pixels)


def test_a_batch_of_columns_is_restored_in_place() -> None:
    images = np.empty(3, dtype=object)
    images[:] = [image(), image(CLEAN, side=6, channels=1), image(BROKEN)]
    batch = RestoreActor(StandIn())({"image": images, "name": np.array(["a", "b", "c"])})
    assert list(batch["status"]) == ["restored", "unchanged", "failed"]
    assert list(batch["name"]) == ["a", "b", "c"]
    assert [restored.shape for restored in batch["image"]] == [pixels.shape for pixels in images]
    np.testing.assert_array_equal(batch["image"][1], images[1])
    assert "divides by zero" in batch["error_message"][2]
    assert [json.loads(found) for found in batch["findings"]] == [to_column([SHARP]), [], []]


def test_a_value_that_does_not_exist_is_null_in_a_row() -> None:
    pixels = np.zeros((2, 2, 3), np.float32)
    clean = Answer("unchanged", pixels, inversion_psnr=math.nan, consistency_psnr=math.inf)
    row = describe(Restored(pixels, clean))
    assert row["inversion_psnr"] is row["consistency_psnr"] is None
    assert (row["typicality_after"], row["nfe"]) == (0.5, 4)


def test_what_the_memory_cannot_hold_is_refused_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "memory_bytes", lambda: restoring.LEAST_BYTES * 8 * 8 * 3)
    actor = RestoreActor(StandIn())
    actor.device = "cpu/float32"
    coloured = image(side=9)
    coloured[0, 0] = 1, 2, 3
    images = [image(1), coloured, image(3), image(side=13)]
    results = actor.restore([Degraded(pixels) for pixels in images])
    refused = results.pop(1)
    assert isinstance(refused, ItemError)
    assert (refused.code, "9x9 takes" in refused.message) == (ErrorCode.TOO_LARGE, True)
    shapes = [result.image.shape for result in results if isinstance(result, Restored)]
    assert shapes == [(8, 8, 3), (8, 8, 3), (13, 13, 3)]


def test_one_bad_image_does_not_spoil_its_neighbours() -> None:
    images = [image(mark) for mark in (1, 2, BROKEN, 3, BROKEN)]
    results = RestoreActor(StandIn()).restore([Degraded(pixels) for pixels in images])
    assert [isinstance(result, Restored) for result in results] == [True, True, False, True, False]


class Cropping(BoxBlur):
    """Takes a line off every second image."""

    def restore(self, degraded: Sequence[Degraded]) -> list[Answer]:
        answers = super().restore(degraded)
        return [replace(each, image=each.image[number % 2 :]) for number, each in enumerate(answers)]


def test_a_result_of_another_shape_is_no_result() -> None:
    actor = RestoreActor(lambda: Cropping(StandIn()))
    whole, other = actor.restore([Degraded(image()), Degraded(image())])
    assert isinstance(whole, Restored)
    assert isinstance(other, ItemError)
    assert other.code is ErrorCode.INTERNAL
    assert str(other) == "the model made 7x8x3 values of an image of 8x8x3"


@dataclass(frozen=True)
class Narrow:
    """Restores at most two images at once, of a side that the tile allows."""

    tile: int = 16
    device: str = "cpu/none"

    def identity(self) -> PriorIdentity:
        return PriorIdentity("narrow", "0")

    def __call__(self) -> Narrow:
        return self

    def restore(self, degraded: Sequence[Degraded]) -> list[Answer]:
        if len(degraded) > 2 or max(given.image.shape[0] for given in degraded) > 256 // self.tile:
            raise RuntimeError("CUDA out of memory")
        return [Answer("restored", given.image) for given in degraded]

    def smaller(self) -> tuple[str, Narrow] | None:
        return (f"tile={self.tile // 2}", Narrow(self.tile // 2)) if self.tile > 4 else None


def test_a_batch_that_does_not_fit_is_halved() -> None:
    results = RestoreActor(Narrow()).restore([Degraded(image(n)) for n in range(7)])
    assert all(isinstance(result, Restored) for result in results)
    assert {result.fallbacks for result in results if isinstance(result, Restored)} == {()}


@dataclass(frozen=True)
class Counting(Narrow):
    """Notes how many pixels it is given at once."""

    given: list[int] = field(default_factory=list)

    def restore(self, degraded: Sequence[Degraded]) -> list[Answer]:
        self.given.append(sum(given.image[..., 0].size for given in degraded))
        return [Answer("restored", given.image) for given in degraded]


@given(st.lists(st.integers(1, 12), max_size=12))
def test_as_many_images_at_once_as_a_device_holds(sides: list[int]) -> None:
    counting = Counting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoring, "PIXELS_TOGETHER", 100)
        results = RestoreActor(counting).restore([Degraded(image(side=side)) for side in sides])
    assert [result.image.shape[0] for result in results if isinstance(result, Restored)] == sides
    assert sum(counting.given) == sum(side**2 for side in sides)
    assert all(pixels <= 100 or pixels in {121, 144} for pixels in counting.given)
    # No two neighbours could have gone together.
    assert all(a + b > 100 for a, b in pairwise(counting.given)) or not counting.given


def test_an_image_that_does_not_fit_is_restored_in_smaller_tiles(tmp_path: Path) -> None:
    actor = RestoreActor(Narrow())
    fits, large, larger, too_large, after = actor.restore(
        [Degraded(image(side=side)) for side in (16, 32, 64, 65, 16)]
    )
    for result, fallbacks in ((fits, ()), (large, ("tile=8",)), (larger, ("tile=4",)), (after, ())):
        assert isinstance(result, Restored)
        assert result.fallbacks == fallbacks
    assert isinstance(too_large, ItemError)
    assert too_large.code is ErrorCode.OUT_OF_MEMORY


def test_a_broken_prior_is_a_wrong_setting(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built_in_priors()["photo-64"], tmp_path / "prior"))
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"nonsense" * 10)
    with pytest.raises(SettingsError, match=r"cannot be read .* copy them again"):
        PriorRestorerFactory(str(folder), RestoreSettings()).identity()
    (folder / "calibration.json").write_text("{}")
    shutil.copytree(built_in_priors()["photo-64"] / "unet", folder / "unet", dirs_exist_ok=True)
    with pytest.raises(SettingsError, match=r"calibration\.json is damaged .* make it with"):
        PriorRestorerFactory(str(folder), RestoreSettings()).identity()
    with pytest.raises(SettingsError, match="no prior"):
        PriorRestorerFactory("no-such-prior", RestoreSettings()).identity()
