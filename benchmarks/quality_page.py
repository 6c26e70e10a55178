"""What the cells of the benchmark say: averages, the screening, the floors, and the page that shows them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.baselines import BIRD_STOPS, FILTERS, RICHARDSON_LUCY_STOPS, TV_WEIGHTS, UNTRAINED_STOPS
from benchmarks.cells import Cells

BLIND, SPECIFIED = "ours, blind", "ours, specified"
OURS = (BLIND, SPECIFIED)
RISK = 0.25
"""Share of clean pictures that one column may alter: what the default keeps, for the sake of those, shows."""
RISKY = f"ours, max_harm={RISK}"
ON_PRIOR = ("DreamClean", "DIIP", "BIRD")
SLOW = (*ON_PRIOR, "Deep Image Prior")
AVERAGED = ("psnr", "ssim", "ms_ssim", "noise_level", "sharpness", "blockiness", "nfe", "seconds")

Summary = dict[str, Any]
"""``photographs``, ``columns``, ``auroc`` of all rows; by row its ``columns``, ``typicality`` and ``auroc``.
Plain JSON."""


def summary(
    cells: Cells, columns: Sequence[str], rows: Sequence[str], photographs: Collection[str]
) -> Summary:
    """Averages over the photographs, each with its ``n``; what was not measured is not there.

    Beside a slow method stands what ours, blind, reaches on the photographs that it was measured on.
    """
    clean = _typicalities(cells, "clean", photographs)
    degraded = {row: _typicalities(cells, row, photographs) for row in rows if row != "clean"}
    found: Summary = {"photographs": list(photographs), "columns": list(columns), "rows": {}}
    for row in rows:
        averages = {column: _averages(cells, row, column, photographs) for column in columns}
        found["rows"][row] = {"columns": {name: means for name, means in averages.items() if means}}
        if clean and degraded.get(row):
            found["rows"][row] |= {"typicality": degraded[row], "auroc": auroc(degraded[row], clean)}
    if clean and (pooled := [value for values in degraded.values() for value in values]):
        found["auroc"] = auroc(pooled, clean)
    return found


def _averages(cells: Cells, row: str, column: str, photographs: Collection[str]) -> dict[str, Any]:
    measured = {name: cell for name in photographs if (cell := cells.get((row, name, column)))}
    if not measured:
        return {}
    found: dict[str, Any] = {"n": len(measured)}
    found |= {key: statistics.fmean(cell[key] for cell in measured.values()) for key in AVERAGED}
    found["lowest_psnr"] = min(cell["psnr"] for cell in measured.values())
    gains = [
        cell["psnr"] - before["psnr"]
        for name, cell in measured.items()
        if (before := cells.get((row, name, "input")))
    ]
    if gains:
        found |= {"gain": statistics.fmean(gains), "lowest_gain": min(gains)}
    if column in (SPECIFIED, RISKY, *SLOW):
        ours = [cell["psnr"] for name in measured if (cell := cells.get((row, name, BLIND)))]
        if len(ours) == len(measured):
            found["psnr_of_ours"] = statistics.fmean(ours)
    if outcomes := Counter(cell["outcome"] for cell in measured.values() if "outcome" in cell):
        found["outcomes"] = dict(sorted(outcomes.items()))
    return found


def _typicalities(cells: Cells, row: str, photographs: Collection[str]) -> list[float]:
    found = (cells.get((row, name, BLIND)) or {} for name in photographs)
    return [cell["typicality"] for cell in found if "typicality" in cell]


def auroc(degraded: Sequence[float], clean: Sequence[float]) -> float:
    """Chance that a degraded image is judged less typical than a clean one; ties count half."""
    pairs = [(d < c) + 0.5 * (d == c) for d in degraded for c in clean]
    return sum(pairs) / len(pairs)


Scores = Mapping[str, Mapping[str, Any]]
"""Of a row, by column."""


@dataclass(frozen=True)
class Floor:
    """What is wanted of some rows: ``figure`` of each at least ``wanted``."""

    what: str
    rows: tuple[str, ...]
    wanted: float
    figure: Callable[[Scores], float]


def over_filters(row: Scores) -> float:
    return row[BLIND]["psnr"] - max(row[name]["psnr"] for name in FILTERS)


def blind_gain(row: Scores) -> float:
    return row[BLIND]["gain"]


def specified_gain(row: Scores) -> float:
    return row[SPECIFIED]["gain"]


def lowest(row: Scores) -> float:
    return row[BLIND]["lowest_psnr"]


NOISE = ("noise 15/255", "noise 25/255", "noise 50/255")
LOCAL = ("rain 2 %", "rain 5 %", "scratches 1 %", "scratches 3 %", "dead pixels 1 %", "dead pixels 2 %")
FLOORS = (
    Floor("blind over the best filter, dB", NOISE, 2.0, over_filters),
    Floor("blind gain, dB", ("JPEG quality 10", "JPEG quality 20"), 1.0, blind_gain),
    Floor("blind gain, dB", ("blur sigma 1.5",), 0.5, blind_gain),
    Floor("gain where specified, dB", ("blur sigma 1.5",), 3.0, specified_gain),
    Floor("blind gain, dB", ("low resolution 4x",), 0.0, blind_gain),
    Floor("gain where specified, dB", ("low resolution 4x",), 0.5, specified_gain),
    Floor("blind gain, dB", LOCAL, 3.0, blind_gain),
    Floor("lowest PSNR of an image, dB (99: unchanged)", ("clean",), 45.0, lowest),
)
SCREENING = 0.98
SHARE_OF_NFE = 0.1


@dataclass(frozen=True)
class Finding:
    """A floor and what was measured.

    Attributes:
        where: the row, or that of the worst figure.
        wanted: "at least", "above" or "at most", and the number.
        rests_on: rows and cells, where it is the worst of several rows.
        missing: whether some of those were not measured.
    """

    what: str
    where: str
    wanted: tuple[str, float]
    measured: float
    rests_on: str = ""
    missing: bool = False

    @property
    def met(self) -> bool:
        bound, number = self.wanted
        if bound == "at most":
            return self.measured <= number
        return self.measured > number if bound == "above" else self.measured >= number

    @property
    def verdict(self) -> str:
        if not self.met:
            return "**missed**"
        return "met where measured" if self.missing else "met"


def floors(record: Mapping[str, Any]) -> list[Finding]:
    """Every floor whose cells are there."""
    rows = record["all"]["rows"]
    found = []
    for floor in FLOORS:
        for row in floor.rows:
            try:
                measured = floor.figure(rows[row]["columns"])
            except KeyError:
                continue
            found.append(Finding(floor.what, row, ("at least", floor.wanted), measured))
    if "auroc" in record["all"]:
        wanted = ("at least", SCREENING)
        found.append(Finding("AUROC of the screening", "all rows", wanted, record["all"]["auroc"]))
    margins = against_optimisers(record)
    for name in SLOW:
        what = f"blind over {name}, dB, lowest" + ("" if name in ON_PRIOR else " (not asked)")
        margin = {row: (margin, n) for column, row, n, margin in margins if column == name}
        found += _worst(record, what, ("above", 0.0), margin, min)
    return found + _worst(
        record, "blind's share of BIRD's NFE, highest", ("at most", SHARE_OF_NFE), shares(record), max
    )


def _worst(
    record: Mapping[str, Any],
    what: str,
    wanted: tuple[str, float],
    figures: Mapping[str, tuple[float, int]],
    worst: Callable[..., str],
) -> list[Finding]:
    """What is wanted of every row of the few: of their figures and n the worst, and how many there are."""
    if not figures:
        return []
    row = worst(figures, key=lambda row: figures[row][0])
    figure, n = figures[row]
    asked = [row for row in record["few"]["rows"] if row != "clean"]
    cells, of_cells = sum(n for _, n in figures.values()), len(asked) * len(record["few"]["photographs"])
    rests_on = f"{len(figures)} of {len(asked)} rows, {cells} of {of_cells} cells"
    return [Finding(what, f"{row} (n={n})", wanted, figure, rests_on, cells < of_cells)]


def against_optimisers(record: Mapping[str, Any]) -> list[tuple[str, str, int, float]]:
    """Column, row, n, and how far ours, blind, is above it, in dB, where both saw the same images."""
    few, found = record["few"], []
    for row, measured in few["rows"].items():
        columns = measured["columns"]
        for name in SLOW:
            if row == "clean" or name not in columns:
                continue
            theirs, ours = columns[name], columns.get(BLIND, {})
            if theirs["n"] == ours.get("n") == len(few["photographs"]):
                reached = ours["psnr"]
            elif "psnr_of_ours" in theirs:
                reached = theirs["psnr_of_ours"]
            else:
                continue
            found.append((name, row, theirs["n"], reached - theirs["psnr"]))
    return found


def shares(record: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
    """By row, the NFE of ours, blind, averaged over the few, over those of BIRD; and BIRD's n."""
    return {
        row: (columns[BLIND]["nfe"] / columns["BIRD"]["nfe"], columns["BIRD"]["n"])
        for row, measured in record["few"]["rows"].items()
        if row != "clean" and {BLIND, "BIRD"} <= (columns := measured["columns"]).keys()
    }


def pages(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    everything, few = record["all"], record["few"]
    lines = [
        "# Quality",
        "",
        f"`python -m benchmarks.quality`: {len(everything['photographs'])} crops of 192x192 px, one each of "
        "as many photographs, unseen in training. Every cell: PSNR in dB (SSIM, MS-SSIM), averaged over `n` "
        "photographs. One setting for all rows; blind knows nothing, specified knows the form of the "
        "degradation and not its parameters.",
        f"Prior `{record['prior']}` ({str(record['prior_sha256'])[:12]}), {record['machine']}; "
        f"commit {record.get('commit') or 'unknown'}.",
        "",
        *quality_table(everything),
        "",
        "## Cost",
        "",
        "Evaluations of the prior's network, in passes over the whole image, and seconds an image (of CPU "
        "time, where there is no GPU).",
        "",
        *cost_table(everything),
        "",
        "## Screening and single images",
        "",
        "AUROC: the chance that a degraded image is judged less typical than a clean photograph"
        + (f"; over all rows **{everything['auroc']:.4f}**." if "auroc" in everything else "."),
        "",
        *screening_table(everything),
        "",
        "## What is wanted",
        "",
        "| | degradation | wanted | measured | rests on | |",
        "|---|---|---|---|---|---|",
    ]
    for found in floors(record):
        bound, number = found.wanted
        texts = [found.what, found.where, f"{bound} {number:g}", f"{found.measured:.3f}"]
        lines.append(_line([*texts, found.rests_on, found.verdict]))
    if any(row["columns"].keys() & set(SLOW) for row in few["rows"].values()):
        lines += ["", *_few_pages(record)]
    return "\n".join([*lines, "", *NOTES, ""])


def _few_pages(record: Mapping[str, Any]) -> list[str]:
    few, margins = record["few"], against_optimisers(record)
    lines = [
        "## Beside the optimisers",
        "",
        f"`python -m benchmarks.quality --slow`, on {', '.join(few['photographs'])}. Empty cells were not "
        "reached; `n` says on how many of the photographs the others stand.",
        "",
        *quality_table(few),
        "",
        *cost_table(few),
        "",
        "Ours, blind, over each of them, in dB, on the photographs that both were measured on:",
        "",
        "| | rows | above | lowest | in | of n |",
        "|---|---|---|---|---|---|",
    ]
    for name in SLOW:
        own = [(margin, row, n) for column, row, n, margin in margins if column == name]
        if own:
            above = sum(margin > 0 for margin, _, _ in own)
            margin, row, n = min(own)
            lines.append(f"| {name} | {len(own)} | {above} | {margin:+.2f} | {row} | {n} |")
    return lines


def quality_table(found: Summary) -> list[str]:
    most = len(found["photographs"])

    def cell(means: Mapping[str, Any]) -> str:
        text = f"{means['psnr']:.2f} ({means['ssim']:.3f}, {means['ms_ssim']:.3f}), n={means['n']}"
        there = f"; blind there {means['psnr_of_ours']:.2f}" if "psnr_of_ours" in means else ""
        return text + (there if means["n"] < most else "")

    return _table(found, cell)


def cost_table(found: Summary) -> list[str]:
    def cell(means: Mapping[str, Any]) -> str:
        return f"{means['nfe']:.1f}, {means['seconds']:.2f} s, n={means['n']}"

    return _table(found, cell)


def _table(found: Summary, cell: Callable[[Mapping[str, Any]], str]) -> list[str]:
    measured = {name for row in found["rows"].values() for name in row["columns"]}
    shown = [name for name in found["columns"] if name in measured]
    lines = [_line(["degradation", *shown]), "|---" * (1 + len(shown)) + "|"]
    for name, row in found["rows"].items():
        texts = [cell(row["columns"][column]) if column in row["columns"] else "" for column in shown]
        lines.append(_line([name, *texts]))
    return lines


def screening_table(found: Summary) -> list[str]:
    headings = ["degradation", "AUROC"]
    for name in OURS:
        headings += [f"{name}: gain", "lowest gain", "outcomes"]
    lines = [_line(headings), "|---" * len(headings) + "|"]
    for name, row in found["rows"].items():
        texts = [name, f"{row['auroc']:.3f}" if "auroc" in row else ""]
        for column in OURS:
            means = row["columns"].get(column, {})
            texts += [f"{means[key]:+.2f}" if key in means else "" for key in ("gain", "lowest_gain")]
            texts.append(
                ", ".join(f"{count} {outcome}" for outcome, count in means.get("outcomes", {}).items())
            )
        lines.append(_line(texts))
    return lines


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _or(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"


NOTES = (
    "## Notes",
    "",
    "- PSNR of equal images counts as 99 dB. Results are rounded to 8 bits before they are scored. Scores "
    "that need no reference (noise level, sharpness, blockiness) are in the JSON file.",
    "- Non-local means and the wavelet filter are given the noise level that scikit-image estimates. Of "
    f"total variation the best of {len(TV_WEIGHTS)} weights counts, and of Richardson-Lucy, which is given "
    f"the true kernel, the best of {_or(RICHARDSON_LUCY_STOPS)} iterations: picked for each image with the "
    "original at hand, which nobody could blindly. Their seconds are those of all tries.",
    "- Gray noise is added to the mean of the channels, and measured against it; the grain of a sepia print "
    "to that picture before it is toned.",
    "- BIRD, DIIP and DreamClean have the same prior as ours. BIRD: ten steps, its best of "
    f"{_or(BIRD_STOPS)} iterations with the original at hand, given the true kernel of a blur and "
    "nothing else; its NFE are those of the longest run. DIIP and DreamClean are written after their papers "
    "and not the authors' code: DIIP stops by itself, at the minimum of the windowed moving variance; of "
    "DreamClean's share and depth the best for noise and JPEG were taken. Deep Image Prior is a small "
    f"network, and the best of {_or(UNTRAINED_STOPS)} iterations, again with the original at hand.",
    "- patches is the strategy of the paper (`method.strategy=patches`): its tests of the patches of noise "
    "and its move are not published, and are ours (i2r/correction/patches.py).",
    "- BM3D was not run: the licence of its package on PyPI forbids commercial use.",
)
