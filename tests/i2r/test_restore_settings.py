"""What the settings refuse, and that they identify a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from i2r import RestoreSettings


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        RestoreSettings.model_validate({"tiles": 64})


@given(tile=st.integers(4, 256).map(lambda n: 8 * n), overlap=st.integers(0, 2048))
def test_overlap_is_at_most_half_a_tile(tile: int, overlap: int) -> None:
    if overlap <= tile / 2:
        assert RestoreSettings(tile=tile, overlap=overlap).overlap == overlap
    else:
        with pytest.raises(ValidationError, match="make it smaller"):
            RestoreSettings(tile=tile, overlap=overlap)


@pytest.mark.parametrize(
    "changes",
    [
        {"tile": 100},
        {"tile": 24},
        {"overlap": -1},
        {"tiles_per_batch": 0},
        {"max_harm": 0.0},
        {"max_harm": 1.0},
        {"steps": 0},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        RestoreSettings.model_validate(changes)


def test_a_factor_belongs_to_downsampling() -> None:
    assert RestoreSettings(forms=("downsampling", "noise"), factor=4).factor == 4
    with pytest.raises(ValidationError, match="add downsampling to the forms"):
        RestoreSettings(forms=("noise",), factor=4)


def test_settings_are_frozen_and_travel_as_json() -> None:
    settings = RestoreSettings(tile=64, overlap=8)
    with pytest.raises(ValidationError, match="frozen"):
        settings.tile = 128
    assert RestoreSettings.model_validate_json(settings.model_dump_json()) == settings
    assert hash(settings) == hash(RestoreSettings(tile=64, overlap=8))
