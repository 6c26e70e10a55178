"""Every record is whole: what it names is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from i2r.correction.rectification import FILLS
from i2r.screening.statistics import STATISTICS, Level, Scope, Sign, Statistic, names, weights
from i2r.screening.typicality import MEASURES


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=list(STATISTICS))
def test_what_a_record_names_is_there(statistic: Statistic) -> None:
    assert (statistic.name in MEASURES) == (statistic.level is not Level.NONE)
    assert statistic.witness in {"", *STATISTICS} - {statistic.name}
    assert bool(statistic.corrected_by) == (statistic.sign is Sign.DAMAGE)
    if statistic.corrected_by:
        assert statistic.corrected_by in FILLS
    assert bool(statistic.colour) == (statistic.scope is Scope.REGION)
    assert statistic.label


def test_damage_is_local() -> None:
    assert set(names(sign=Sign.DAMAGE)) < set(names(scope=Scope.REGION))
    assert names() == list(STATISTICS)


@pytest.mark.parametrize("gray", [False, True])
def test_weights_have_a_mean_of_one(gray: bool) -> None:
    assert sum(weights(gray=gray).values()) == pytest.approx(len(STATISTICS))
    assert min(weights(gray=gray).values()) > 0


def test_records_are_read_without_torch() -> None:
    code = "import sys, i2r.screening.statistics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
