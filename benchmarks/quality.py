"""What the method is worth: both settings beside what a user would pick instead.

    python -m benchmarks.quality --quick   ours, blind, on two photographs: minutes, for iterating
    python -m benchmarks.quality           ours and the filters on every photograph: over an hour of one core
    python -m benchmarks.quality --slow    the optimisers too, on four photographs: hours of one core
    python -m benchmarks.quality --columns "ours, max_harm=0.25"    what a higher risk is worth: 40 minutes

degrades the photographs of ``benchmarks/photographs`` (no training saw them) in every way of ``scenes.py``,
restores them with one setting, and writes ``quality.md``, ``quality.json`` and ``quality.png`` beside this
script; the quick table goes to ``quality-quick.md``. The seed is fixed. Every cell is written to
``quality.jsonl`` when it is measured, and not measured again unless what it depends on (seed, prior,
settings) has changed, or ``--anew`` is given, as a change of the method itself asks for. ``--columns input``
writes the tables of what there is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from benchmarks import quality_page
from benchmarks.baselines import (
    FILTERS,
    Attempt,
    Method,
    OnPrior,
    no_method,
    richardson_lucy,
    solve_bird,
    solve_diip,
    solve_dreamclean,
    untrained_network,
)
from benchmarks.cells import Cells, digest
from benchmarks.commit import commit
from benchmarks.figure import SHOWN, draw
from benchmarks.machine import in_words, machine
from benchmarks.scenes import ROWS, SEED, Case, Row, bounded_psnr, evenly, photographs, rounded
from i2r import Degraded, Prior, Restorer, RestoreSettings, load_prior
from i2r.form_names import parse_forms
from i2r.metrics import no_reference, psnr, ssim
from i2r.training.degradation import FloatImage

HERE = Path(__file__).parent
FEW = ("astronaut", "citrus-fruits", "fig", "mountains")
"""Photographs that the slow columns are measured on."""


@dataclass(frozen=True)
class Column:
    """A method and where it is measured.

    Attributes:
        method: called once a cell.
        depends: digest of all that decides its results, next to the scenes.
        slow: whether only on :data:`FEW`.
        named: whether only where it is asked for by its name.
        of_blurs, of_forms: whether only where the kernel of a blur, or a form, can be specified.
    """

    method: Method
    depends: str
    slow: bool = False
    named: bool = False
    of_blurs: bool = False
    of_forms: bool = False

    def fits(self, row: Row, photograph: str) -> bool:
        known = (row.blur or not self.of_blurs) and (bool(row.forms) or not self.of_forms)
        return known and (photograph in FEW or not self.slow)


@dataclass(frozen=True)
class Ours:
    """Our method, with the forms of a row specified or blind."""

    prior: Prior
    settings: RestoreSettings
    specified: bool = False

    def __call__(self, case: Case) -> Attempt:
        specified = {"forms": parse_forms(case.how.forms)} if self.specified else {}
        settings = self.settings.model_copy(update=specified)
        [found] = Restorer(self.prior, settings).restore([Degraded(case.degraded)])
        seen = {"outcome": str(found.outcome), "typicality": found.typicality_before}
        return Attempt([found.image], found.nfe, seen | {"parameters": found.parameters})


def columns(prior: Prior, found_at: str) -> dict[str, Column]:
    """In the order of the table. Filters depend on no prior, and the optimisers on its weights alone.

    Args:
        prior: what ours and the optimisers see images through.
        found_at: its name or folder.
    """
    default, patches = RestoreSettings(), RestoreSettings(strategy="patches")
    risky = RestoreSettings(max_harm=quality_page.RISK)
    plain = digest(seed=SEED)
    on_prior = digest(seed=SEED, weights=weights_digest(found_at))
    ours, by_patches, at_risk = (
        digest(seed=SEED, prior=prior.sha256, settings=settings.model_dump(mode="json"))
        for settings in (default, patches, risky)
    )
    return {
        "input": Column(no_method, plain),
        **{name: Column(method, plain) for name, method in FILTERS.items()},
        "Richardson-Lucy": Column(richardson_lucy, plain, of_blurs=True),
        quality_page.BLIND: Column(Ours(prior, default), ours),
        quality_page.SPECIFIED: Column(Ours(prior, default, specified=True), ours, of_forms=True),
        quality_page.RISKY: Column(Ours(prior, risky), at_risk, named=True),
        "patches": Column(Ours(prior, patches), by_patches, slow=True),
        "DreamClean": Column(OnPrior(prior, solve_dreamclean), on_prior, slow=True),
        "Deep Image Prior": Column(untrained_network, plain, slow=True),
        "DIIP": Column(OnPrior(prior, solve_diip), on_prior, slow=True),
        "BIRD": Column(OnPrior(prior, solve_bird), on_prior, slow=True),
    }


def weights_digest(prior: str) -> str:
    """Of the network, without the calibration that only our method reads, and whatever it computes in."""
    sha256 = hashlib.sha256()
    stored = load_prior(prior, torch.device("cpu"), precision="float32").network.state_dict()
    for name, weight in stored.items():
        sha256.update(name.encode() + weight.contiguous().numpy().tobytes())
    return sha256.hexdigest()


def score(image: FloatImage, clean: FloatImage) -> dict[str, float]:
    """All scores of an image (H, W, C) in [0, 1], as an 8-bit file would hold it."""
    stored = rounded(image)
    ours, theirs = (torch.from_numpy(x.transpose(2, 0, 1).copy())[None] for x in (stored, clean))
    ms_ssim = multiscale_structural_similarity_index_measure(ours, theirs, data_range=1.0, normalize="relu")
    return {
        "psnr": bounded_psnr(stored, clean),
        "ssim": ssim(stored, clean),
        "ms_ssim": float(ms_ssim),
        **no_reference(stored),
    }


def measure(method: Method, case: Case, *, on_cpu: bool) -> dict[str, Any]:
    """One cell. On a CPU the seconds are of its time, so that what else runs there changes little."""
    clock = time.process_time if on_cpu else time.perf_counter
    case.degraded  # noqa: B018 - made before the clock starts
    started = clock()
    attempt = method(case)
    seconds = clock() - started
    best = max(attempt.images, key=lambda image: psnr(rounded(image), case.clean))
    seen = {key: value for key, value in attempt.seen.items() if value != {} and not _is_nan(value)}
    return {**score(best, case.clean), "nfe": attempt.nfe, "seconds": seconds, **seen}


def fill(
    cells: Cells,
    methods: Mapping[str, Column],
    images: Mapping[str, FloatImage],
    rows: Collection[str],
    *,
    on_cpu: bool,
) -> None:
    """Measure the cells that are missing: column by column, every row of a photograph before the next."""

    for name, column in methods.items():
        for photograph in images:
            for row in rows:
                key = row, photograph, name
                if column.fits(ROWS[row], photograph) and key not in cells:
                    case = Case(row, photograph, images[photograph])
                    cells.add(key, measure(column.method, case, on_cpu=on_cpu))
            print(f"{name}: {photograph}", flush=True)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def summarise(
    prior: Prior,
    cells: Cells,
    every: Mapping[str, Column],
    rows: Sequence[str],
    images: Mapping[str, FloatImage],
) -> dict[str, Any]:
    """The record: what was measured on all photographs, and beside the slow columns on :data:`FEW`."""
    fast = [name for name, column in every.items() if not column.slow]
    slow = [name for name, column in every.items() if column.slow]
    return {
        "prior": prior.name,
        "prior_sha256": prior.sha256,
        "settings": RestoreSettings().model_dump(mode="json"),
        "seed": SEED,
        "machine": in_words(machine(Restorer(prior))),
        "commit": commit(),
        "all": quality_page.summary(cells, fast, rows, images),
        "few": quality_page.summary(cells, ["input", *quality_page.OURS, *slow], rows, FEW),
    }


def figure(
    every: Mapping[str, Column], rows: Sequence[str], images: Mapping[str, FloatImage]
) -> PIL.Image.Image:
    """Every row on another photograph, evenly spread over the set."""
    names = list(images)
    cases = [
        Case(row, name, images[name])
        for index, row in enumerate(rows)
        for name in [names[index * len(names) // len(rows)]]
    ]
    return draw({name: column.method for name, column in every.items()}, cases)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument("--slow", action="store_true", help="measure the slow columns too")
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--columns", nargs="*", metavar="COLUMN", help="measure these; the table shows all")
    parser.add_argument("--images", type=int, help="so many of the photographs, evenly spread")
    parser.add_argument("--quick", action="store_true", help="every row, blind, on two photographs")
    parser.add_argument("--out", type=Path, help="beside this script by default")
    parser.add_argument("--anew", action="store_true", help="measure what is measured already again")
    options = parser.parse_args(arguments)

    if options.quick:
        options.images, options.columns, options.anew = 2, ["input", quality_page.BLIND], True
    options.out = options.out or HERE / ("quality-quick.json" if options.quick else "quality.json")
    prior, images = load_prior(options.prior), photographs()
    if options.images:
        images = evenly(images, options.images)
    every = columns(prior, options.prior)
    if unknown := set(options.columns or ()) - every.keys():
        parser.error(f"no column {', '.join(sorted(unknown))}: give some of {', '.join(every)}")
    chosen = {
        name: column
        for name, column in every.items()
        if (
            name in options.columns
            if options.columns
            else not column.named and (options.slow or not column.slow)
        )
    }
    cells = Cells(options.out.with_suffix(".jsonl"), {name: column.depends for name, column in every.items()})
    if options.anew:
        cells.forget(options.only, images, chosen)
    fill(cells, chosen, images, options.only, on_cpu=prior.device.type == "cpu")

    record = summarise(prior, cells, every, options.only, images)
    page = quality_page.pages(record)
    options.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    options.out.with_suffix(".md").write_text(page)
    print(page)
    shown = [row for row in SHOWN if row in options.only]
    if shown and {*quality_page.OURS} <= chosen.keys():
        figure(every, shown, images).save(options.out.with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
