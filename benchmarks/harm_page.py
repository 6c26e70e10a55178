"""The page of `benchmarks.harm`: how many clean pictures changed, of which kind, and by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import binomtest

from benchmarks.clean_pictures import DELIBERATE
from benchmarks.quality_page import auroc

ALTERED, BADLY, RUINED_WINDOW = 45.0, 38.0, 30.0
"""dB below which a picture counts as altered, and as badly so; and below which one of its windows is lost."""
LISTED = 20

Row = Mapping[str, Any]


def page(record: Mapping[str, Any], degraded: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of a record; see :func:`benchmarks.harm.summarise`.

    Args:
        degraded: rows of `benchmarks.quality`, with the typicality of each degraded photograph.
    """
    pictures: Sequence[Row] = record["pictures"]
    photographs = [row for row in pictures if row["photograph"] and row["kind"] not in DELIBERATE]
    others = [row for row in pictures if not row["photograph"]]
    kinds = sorted({row["kind"] for row in pictures})
    measured_by = (
        f"Prior `{record['prior']}` ({record['prior_sha256'][:12]}), {record['machine']}; "
        f"commit {record['commit']}."
    )
    counts = [_line("photographs", photographs), _line("others", others)]
    counts += [_line(kind, [row for row in pictures if row["kind"] == kind]) for kind in kinds]
    parts = [
        "# Harm to clean pictures",
        "`python -m benchmarks.harm`: clean pictures through the blind setting, the set that is there to "
        f"**{record['role']}**{', in gray' if record['in_gray'] else ''}. {measured_by}",
        f"Altered: below {ALTERED:.0f} dB to the picture. Badly: below {BADLY:.0f}. A window: one of "
        f"64x64 px below {RUINED_WINDOW:.0f} dB. Intervals: 95 %, Clopper and Pearson. Film with "
        "deliberate grain is counted apart: by default grain is removed.",
        _table([("pictures", "n", "restored", "altered", "share altered", "badly", "a window"), *counts]),
        "## By what was found",
        "A picture counts for every finding that it shows.",
        _table([("finding", "pictures", "of them altered"), *_by_finding(pictures)]),
        *_screening(degraded, photographs, others),
        "## The worst",
        _table([("kind", "picture", "PSNR", "worst window", "found"), *_listed(worst(pictures))]),
    ]
    return "\n\n".join(parts) + "\n"


def is_altered(row: Row) -> bool:
    return bool(row["psnr"] < ALTERED)


def _line(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    altered = sum(map(is_altered, rows))
    share = "-"
    if rows:
        interval = binomtest(altered, len(rows)).proportion_ci(method="exact")
        share = f"{altered / len(rows):.1%} ({interval.low:.1%} to {interval.high:.1%})"
    counts = (
        len(rows),
        sum(row["outcome"] == "restored" for row in rows),
        altered,
        share,
        sum(row["psnr"] < BADLY for row in rows),
        sum(row["worst_window"] < RUINED_WINDOW for row in rows),
    )
    return (name, *map(str, counts))


def _by_finding(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    found = Counter(name for row in rows for name in row["found"])
    harmful = Counter(name for row in rows if is_altered(row) for name in row["found"])
    return [(name, str(count), str(harmful[name])) for name, count in found.most_common()]


def _screening(degraded: Mapping[str, Row], photographs: Sequence[Row], others: Sequence[Row]) -> list[str]:
    """How well typicality separates degraded photographs from these pictures; nothing if few are known."""
    negatives = {
        what: [row["typicality"] for row in rows if row["typicality"] is not None]
        for what, rows in (("photographs", photographs), ("others", others))
    }
    known = {name: row["typicality"] for name, row in degraded.items() if row.get("typicality")}
    if not known or 2 * len(negatives["photographs"]) < len(photographs) or not negatives["others"]:
        return []
    known["all rows"] = [value for values in known.values() for value in values]
    head = ("degradation", *(f"beside {len(clean)} {what}" for what, clean in negatives.items()))
    rows = [
        (name, *(f"{auroc(values, clean):.3f}" for clean in negatives.values()))
        for name, values in known.items()
    ]
    return [
        "## Screening beside hard negatives",
        "AUROC: the chance that a degraded photograph of `benchmarks.quality` (crops of 192x192 px, of the "
        "set that chose constants) is judged less typical than one of these pictures.",
        _table([head, *rows]),
    ]


def worst(rows: Sequence[Row]) -> list[Row]:
    """The pictures that changed most, at most `LISTED`."""
    return sorted((row for row in rows if row["changed"]), key=lambda row: float(row["psnr"]))[:LISTED]


def _listed(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [
        (
            row["kind"],
            row["name"],
            f"{row['psnr']:.1f}",
            f"{row['worst_window']:.1f}",
            ", ".join(row["found"]),
        )
        for row in rows
    ]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])
