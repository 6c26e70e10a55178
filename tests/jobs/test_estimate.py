"""The estimate: its arithmetic, its prices, and one that is really measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import png

from jobs.cli import main
from jobs.commands.plan import print_plan
from jobs.estimate import (
    PRICES,
    Estimate,
    Measurement,
    NodeKind,
    Prices,
    mean_of,
    measure,
    offers,
    read_prices,
)
from pipeline import RunSettings
from pipeline.errors import SettingsError

MEASURED = Measurement(
    images=3600,
    bytes=1 << 30,
    sampled=16,
    device="cpu",
    seconds=Estimate(2.0, 1.5, 3.0),
    seconds_per_megapixel=1.0,
    statuses={"restored": 16},
)


def test_hours_cost_and_nodes_follow_from_the_seconds() -> None:
    kinds = {
        "one": NodeKind(price=1.0, device="cpu", models=1),
        "four": NodeKind(price=0.5, device="cpu", models=4, speed=0.5),
        "gpu": NodeKind(price=0.1, device="gpu", models=1),
    }
    cheapest, other = offers(MEASURED, Prices(currency="EUR", nodes=kinds), deadline_hours=0.7)
    assert (cheapest.name, other.name) == ("four", "one")
    assert cheapest.node_hours == Estimate(1.0, 0.75, 1.5)
    assert cheapest.cost == Estimate(0.5, 0.375, 0.75)
    assert (cheapest.nodes, other.nodes) == (3, 5)  # 1.5 and 3 hours at worst


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    held = []
    for _ in range(200):
        found = mean_of(generator.lognormal(0.0, 0.5, 24))
        assert found.low <= found.value <= found.high
        held.append(found.low <= np.exp(0.125) <= found.high)
    assert 0.86 <= np.mean(held) <= 1.0


def test_the_shipped_prices_can_be_read() -> None:
    assert {kind.device for kind in read_prices(PRICES).nodes.values()} == {"cpu", "gpu"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodes: [", "are not YAML"),
        ("{}", "currency"),
        ("{currency: USD, nodes: {}}", "nodes"),
        ("{currency: USD, nodes: {a: {price: -1, device: cpu, models: 1}}}", r"nodes\.a\.price"),
        ("{currency: USD, nodes: {a: {price: 1, device: tpu, models: 1}}}", r"nodes\.a\.device"),
        ("{currency: USD, nodes: {a: {price: 1, device: cpu, models: 1, sped: 2}}}", r"nodes\.a\.sped"),
    ],
)
def test_wrong_prices_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_prices(tmp_path / "prices.yaml")


def test_a_plan_is_measured(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):
        png(number).save(tmp_path / "in" / f"{number}.png")
    arguments = ["plan", str(tmp_path / "in"), *flags, "--images=6", "--deadline=2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    whole, measured, heads, *rows = result.stdout.splitlines()
    assert whole.startswith("the whole: 12 images")
    assert "on a cpu" in measured
    assert "nodes for 2 h" in heads
    assert {row.split()[0] for row in rows[:2]} == {"cpu-16", "cpu-64"}
    assert "gpu-l4, gpu-l4-4" in rows[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--limit=3"], "leave out limit"), (["--prices=none.yaml"], "cannot read the prices")],
)
def test_a_wrong_plan_is_refused(tmp_path: Path, more: list[str], words: str) -> None:
    png(1).save(tmp_path / "a.png")
    result = CliRunner().invoke(main, ["plan", str(tmp_path), *more])
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_plan_says_figures_that_people_read(capsys: pytest.CaptureFixture[str]) -> None:
    prices = Prices(currency="EUR", nodes={"one": NodeKind(price=1.0, device="cpu", models=1)})
    print_plan(replace(MEASURED, seconds=Estimate(4.58, 4, 5), seconds_per_megapixel=4580.0), prices, None)
    said = capsys.readouterr().out
    assert "one model takes 4.58 (4 to 5) s for an image of 0.001 megapixels\n" in said
    print_plan(
        replace(MEASURED, seconds=Estimate(9160.0, 9000.0, 1e4), seconds_per_megapixel=4580.0), prices, None
    )
    said = capsys.readouterr().out
    assert "9,160 (9,000 to 10,000) s for an image of 2 megapixels, 4,580 s for a megapixel\n" in said


@pytest.mark.parametrize("images", [2, 3])
def test_a_sample_has_the_size_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    given: list[RunSettings] = []
    monkeypatch.setattr("jobs.estimate.restore_dataset", lambda _s, _d, settings, **_: given.append(settings))
    monkeypatch.setattr("jobs.estimate._rows", lambda _: [])
    for number in range(40):
        png(number).save(tmp_path / f"{number}.png")
    with pytest.raises(SettingsError, match="0 of 40 images could be measured"):
        measure(str(tmp_path), RunSettings(), images)
    assert given[0].limit == images
    assert (given[0].sample or 0) * 40 > images + 4 * images**0.5
