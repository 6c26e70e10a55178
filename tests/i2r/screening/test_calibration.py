"""The file of a calibration: it is read as it was written; errors of damage say how to fix it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.errors import PriorError
from i2r.screening import overlay_weights
from i2r.screening.calibration import BANDS, CALIBRATION, Calibration, Spread
from i2r.screening.statistics import STATISTICS

values = st.floats(-1e3, 1e3)
levels = st.floats(1e-4, 1e3)
widths = st.floats(1e-6, 10)
of_one_kind = st.builds(
    Calibration,
    level=levels,
    damage_level=levels,
    clean=st.fixed_dictionaries(
        dict.fromkeys(STATISTICS, st.builds(Spread, middle=values, spread=widths, tail=widths))
    ),
    entry_scale=st.dictionaries(levels, values, min_size=2).map(lambda scales: dict(sorted(scales.items()))),
    block_entry=st.tuples(values, values),
    spectrum=st.tuples(*[values] * BANDS),
    overlays=st.just(overlay_weights.digest()),
    alarms=st.lists(st.floats(0, 1)).map(lambda alarms: tuple(sorted(alarms))),
)
calibrations = st.builds(dataclasses.replace, of_one_kind, gray=st.none() | of_one_kind)


@given(calibrations)
def test_a_calibration_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, calibration: Calibration
) -> None:
    folder = tmp_path_factory.mktemp("prior")
    calibration.save(folder)
    assert Calibration.load(folder) == calibration
    assert [path.name for path in folder.iterdir()] == [CALIBRATION]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "null", '{"level": 0.06}', '{"level": "low", "damage_level": 1}']
)
def test_a_damaged_calibration_is_refused_with_the_fix(content: str, tmp_path: Path) -> None:
    (tmp_path / CALIBRATION).write_text(content)
    with pytest.raises(PriorError, match=r"is damaged .* make it with `i2r priors calibrate"):
        Calibration.load(tmp_path)


def test_a_calibration_of_another_network_of_overlays_is_refused_with_the_fix(
    calibration: Calibration, tmp_path: Path
) -> None:
    dataclasses.replace(calibration, overlays="0" * 16).save(tmp_path)
    with pytest.raises(PriorError, match="by another version of this program: make it with `i2r priors"):
        Calibration.load(tmp_path)


def test_a_missing_calibration_is_refused_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="is missing: make it with `i2r priors calibrate"):
        Calibration.load(tmp_path)


@pytest.mark.parametrize(
    "key", ["level", "damage_level", "clean", "entry_scale", "block_entry", "spectrum", "overlays"]
)
def test_every_part_of_a_calibration_is_needed(calibration: Calibration, tmp_path: Path, key: str) -> None:
    calibration.save(tmp_path)
    path = tmp_path / CALIBRATION
    path.write_text(path.read_text().replace(f'"{key}"', '"other"'))
    with pytest.raises(PriorError, match=f"is damaged .*{key}"):
        Calibration.load(tmp_path)


def _clean(**changes: float) -> dict[str, Any]:
    spread = {"middle": 0.0, "spread": 0.1, "tail": 0.05}
    return {"clean": dict.fromkeys(STATISTICS, spread) | {"lag": spread | changes}}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"level": float("nan")}, "level is not finite"),
        ({"damage_level": 0}, "noise level is not positive"),
        (_clean(spread=0.0), "spread is not positive"),
        (_clean(spread=-0.1), "spread is not positive"),
        (_clean(spread=float("nan")), "spread is not finite"),
        (_clean(tail=0.0), "tail is not positive"),
        (_clean(tail=float("nan")), "tail is not finite"),
        (_clean(middle=float("inf")), "middle is not finite"),
        (_clean(width=1.0), "width"),
        ({"entry_scale": []}, "fewer than two levels"),
        ({"entry_scale": [[0.1, 0.0]]}, "fewer than two levels"),
        ({"entry_scale": [[0.2, 0.0], [0.1, 0.0]]}, "do not increase"),
        ({"entry_scale": [[-0.2, 0.0], [0.1, 0.0]]}, "not positive"),
        ({"entry_scale": [[0.1, 0.0], [0.2, float("nan")]]}, "entry_scale is not finite"),
        ({"block_entry": [1.0]}, "unpack"),
        ({"block_entry": [1.0, float("nan")]}, "block_entry is not finite"),
        ({"spectrum": [0.0] * (BANDS - 1)}, "15 bands, not 16"),
        ({"spectrum": [float("-inf")] * BANDS}, "spectrum is not finite"),
    ],
)
def test_values_that_cannot_be_are_refused(
    calibration: Calibration, tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    calibration.save(tmp_path)
    path = tmp_path / CALIBRATION
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(PriorError, match=f"{fault}.*: make it with"):
        Calibration.load(tmp_path)


def test_what_was_measured_wrongly_is_no_calibration(calibration: Calibration) -> None:
    with pytest.raises(ValueError, match="not finite"):
        dataclasses.replace(calibration, level=float("nan"))


def test_nothing_heavy_is_loaded_to_refuse_a_prior() -> None:
    script = (
        "import sys\n"
        "from i2r.errors import PriorError\n"
        "from i2r.prior.folder import PriorFolder, built_in_priors, find_prior\n"
        "for folder in built_in_priors().values():\n"
        "    PriorFolder(folder).check(), PriorFolder(folder).calibration, PriorFolder(folder).digest()\n"
        "try:\n"
        "    find_prior('no-such-prior')\n"
        "except PriorError as error:\n"
        "    print(error)\n"
        "assert not {'torch', 'diffusers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "no prior 'no-such-prior'" in done.stdout
