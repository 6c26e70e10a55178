"""The benchmark of the method on one photograph: its tables, what it does not measure twice, its columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks import baselines, diip, quality, quality_page, stopping
from benchmarks.cells import Cells, digest
from benchmarks.scenes import ROWS, Case
from i2r import Prior, load_prior
from i2r.metrics import psnr

KEY = ("noise 25/255", "cat", "input")


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior("photo-64")


@pytest.fixture
def crop(photograph: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Small enough for an optimiser, (64, 64, 3) in [0, 1]."""
    return photograph[32:96, 32:96].copy()


def test_an_interrupted_benchmark_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "deeper" / "quality.json"
    command = ["--images", "1", "--only", "clean", "noise 25/255", "--out", str(out)]
    quality.main([*command, "--columns", "input", "wavelet", "ours, blind"])
    record, page = json.loads(out.read_text()), out.with_suffix(".md").read_text()

    noisy = record["all"]["rows"]["noise 25/255"]["columns"]
    assert set(noisy) == {"input", "wavelet", "ours, blind"}
    assert noisy["ours, blind"]["psnr"] > noisy["wavelet"]["psnr"] > noisy["input"]["psnr"] + 3
    assert noisy["ours, blind"]["ms_ssim"] > noisy["input"]["ms_ssim"]
    assert noisy["ours, blind"]["outcomes"] == {"restored": 1}
    assert noisy["ours, blind"]["nfe"] > 3
    assert record["all"]["auroc"] == 1
    assert f"{noisy['wavelet']['psnr']:.2f} (" in page
    assert "n=1" in page

    log = out.with_suffix(".jsonl")
    measured = log.read_text()
    assert len(measured.splitlines()) == 6
    log.write_text(measured[:-7])  # killed while it wrote the last cell
    quality.main([*command, "--columns", "wavelet", "input"])
    assert log.read_text() == measured[: measured.rstrip().rfind("\n") + 1]
    quality.main([*command, "--columns", "total variation"])
    assert [json.loads(line)["column"] for line in log.read_text().splitlines()[5:]] == [
        "total variation"
    ] * 2


def test_a_column_that_does_not_exist_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        quality.main(["--columns", "wavelets", "--out", str(tmp_path / "quality.json")])
    assert "no column wavelets: give some of input, " in capsys.readouterr().err


def test_cells_of_another_prior_are_kept_and_not_seen(tmp_path: Path) -> None:
    path, one, other = tmp_path / "cells.jsonl", {"input": digest(prior="a")}, {"input": digest(prior="b")}
    Cells(path, one).add(KEY, {"psnr": 20.0})
    assert KEY not in Cells(path, other)
    Cells(path, other).add(KEY, {"psnr": 21.0})
    assert [(Cells(path, depends).get(KEY) or {})["psnr"] for depends in (one, other)] == [20, 21]
    Cells(path, other).forget([KEY[0]], [KEY[1]], [KEY[2]])
    assert KEY in Cells(path, one)
    assert KEY not in Cells(path, other)


def test_a_case_does_not_depend_on_what_else_is_measured(crop: npt.NDArray[np.float32]) -> None:
    for row in ROWS:
        case = Case(row, "bee", crop)
        assert np.array_equal(case.degraded, Case(row, "bee", crop).degraded)
        assert case.degraded.shape == case.clean.shape == (64, 64, 1 if row.startswith("gray") else 3)
        assert (psnr(case.degraded, case.clean) < 40) == (row != "clean")
    noisy = [Case("noise 25/255", name, crop).degraded for name in ("bee", "wasp")]
    assert not np.array_equal(*noisy)


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.blur])
def test_the_kernel_of_a_blur_is_the_one_that_was_used(row: str, crop: npt.NDArray[np.float32]) -> None:
    case = Case(row, "bee", crop)
    blurred = baselines.convolution(case)(baselines.to_tensor(crop))
    assert psnr(baselines.to_image(blurred), case.degraded) > 45
    [*_, best] = baselines.richardson_lucy(case).images
    assert psnr(best, crop) > psnr(case.degraded, crop) + 1


# Gray noise comes back from DreamClean about as it went in.
@pytest.mark.parametrize(("row", "gain"), [("noise 50/255", 1.0), ("gray noise 25/255", -1.0)])
def test_the_optimisers_restore_at_their_price(
    row: str, gain: float, prior: Prior, crop: npt.NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diip, "ITERATIONS", 12)
    monkeypatch.setattr(baselines, "BIRD_STOPS", (1, 3))
    case = Case(row, "bee", crop)
    attempts = {
        "dreamclean": baselines.OnPrior(prior, baselines.solve_dreamclean)(case),
        "diip": baselines.OnPrior(prior, baselines.solve_diip)(case),
        "bird": baselines.OnPrior(prior, baselines.solve_bird)(case),
    }
    assert {name: attempt.nfe for name, attempt in attempts.items()} == {
        "dreamclean": 90,
        "diip": 48,
        "bird": 30,
    }
    assert [image.shape for image in attempts["bird"].images] == [case.clean.shape] * 2
    assert psnr(attempts["dreamclean"].images[0], case.clean) > psnr(case.degraded, case.clean) + gain
    for name in ("bird", "diip"):
        assert 0 <= attempts[name].images[-1].min() <= attempts[name].images[-1].max() <= 1


def test_an_untrained_network_fits_the_picture_before_the_noise(
    crop: npt.NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "UNTRAINED_STOPS", (5, 100))
    case = Case("noise 50/255", "bee", crop)
    early, late = baselines.untrained_network(case).images
    assert psnr(late, crop) > max(psnr(early, crop), psnr(case.degraded, crop))


def test_a_fit_stops_where_it_lingers() -> None:
    positions = torch.cat([torch.linspace(-9, 0, 30) ** 3, torch.linspace(0.1, 9, 60) ** 3])
    image, count = stopping.stopped(iter(positions[:, None]), window=5, patience=10)
    assert abs(image.item()) < 2
    assert count < 50


def test_an_optimiser_is_compared_on_the_photographs_that_it_was_measured_on(tmp_path: Path) -> None:
    row = "noise 25/255"
    cells = Cells(tmp_path / "quality.jsonl", dict.fromkeys((quality_page.BLIND, "BIRD", "DIIP"), "here"))
    rest = dict.fromkeys(quality_page.AVERAGED, 0.0)
    for photograph, ours in (("astronaut", 30.0), ("fig", 20.0)):
        cells.add((row, photograph, quality_page.BLIND), rest | {"psnr": ours})
    cells.add((row, "astronaut", "BIRD"), rest | {"psnr": 28.0})
    cells.add((row, "mountains", "DIIP"), rest | {"psnr": 28.0})
    few = quality_page.summary(cells, [quality_page.BLIND, "BIRD", "DIIP"], [row], quality.FEW)
    assert few["rows"][row]["columns"][quality_page.BLIND]["psnr"] == 25
    assert quality_page.against_optimisers({"few": few}) == [("BIRD", row, 1, 2.0)]


def _record(columns: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """As summaries make it, of two photographs: by row and column what was averaged."""
    few = {"photographs": ["astronaut", "fig"], "rows": {row: {"columns": of} for row, of in columns.items()}}
    return {"all": {"rows": {}}, "few": few}


def test_every_row_is_wanted_above_the_others_at_a_tenth_of_the_evaluations() -> None:
    ours = {"n": 2, "psnr": 30.0, "nfe": 15.0}
    bird = {"n": 1, "psnr": 28.0, "psnr_of_ours": 29.0, "nfe": 600.0}
    noise = {quality_page.BLIND: ours, "BIRD": bird, "DIIP": {"n": 2, "psnr": 27.0, "psnr_of_ours": 30.0}}
    # A record from before the untrained network was compared holds no PSNR of ours beside it.
    blur = {quality_page.BLIND: ours | {"nfe": 90.0}, "BIRD": bird | {"psnr": 29.0}}
    blur["Deep Image Prior"] = {"n": 2, "psnr": 26.0}
    blur["DIIP"] = noise["DIIP"] | {"psnr": 29.5}
    found = {
        each.what: each
        for each in quality_page.floors(_record({"clean": noise, "noise": noise, "blur": blur}))
    }
    diip = found["blind over DIIP, dB, lowest"]
    assert (diip.where, diip.measured, diip.rests_on) == ("blur (n=2)", 0.5, "2 of 2 rows, 4 of 4 cells")
    assert diip.verdict == "met"
    untrained = found["blind over Deep Image Prior, dB, lowest (not asked)"]
    assert (untrained.measured, untrained.rests_on) == (4.0, "1 of 2 rows, 2 of 4 cells")
    assert untrained.verdict == "met where measured"
    equal = found["blind over BIRD, dB, lowest"]
    assert (equal.where, equal.measured, equal.verdict) == ("blur (n=1)", 0.0, "**missed**")
    share = found["blind's share of BIRD's NFE, highest"]
    assert (share.where, share.measured, share.verdict) == ("blur (n=1)", 0.15, "**missed**")
    [share] = [each for each in quality_page.floors(_record({"noise": noise})) if "NFE" in each.what]
    assert (share.measured, share.verdict) == (0.025, "met where measured")


def test_what_fewer_photographs_show_stands_beside_blind_on_those() -> None:
    scores = {"psnr": 30.0, "ssim": 0.9, "ms_ssim": 0.95, "psnr_of_ours": 29.5}
    few = _record({"rain": {quality_page.SPECIFIED: scores | {"n": 1}, "BIRD": scores | {"n": 2}}})["few"]
    [row] = quality_page.quality_table(few | {"columns": [quality_page.SPECIFIED, "BIRD"]})[2:]
    assert row == "| rain | 30.00 (0.900, 0.950), n=1; blind there 29.50 | 30.00 (0.900, 0.950), n=2 |"


def test_the_page_can_be_made_of_the_record_that_is_checked_in() -> None:
    record = json.loads((Path(quality_page.__file__).parent / "quality.json").read_text())
    page = quality_page.pages(record)
    for name in quality_page.SLOW:
        assert f"| blind over {name}, dB, lowest" in page
    assert "| blind's share of BIRD's NFE, highest |" in page


def test_an_auroc_counts_ties_half() -> None:
    assert quality_page.auroc([0.1, 0.2], [0.3, 0.4]) == 1
    assert quality_page.auroc([0.1, 0.5], [0.3, 0.3]) == 0.5
    assert quality_page.auroc([0.3], [0.3]) == 0.5
