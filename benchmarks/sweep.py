"""How a constant was chosen: the method's results over several values of it.

    python -m benchmarks.sweep i2r.correction.rectification.ENTRY 1.0 1.05 1.1 --rows "noise 25/255" clean

restores a few photographs of the set that chooses (``benchmarks/photographs``) with each value in turn, and
writes a table to ``benchmarks/sweeps``: the PSNR of every row, and how many clean images changed. Keep
a value where the optimum is flat.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from benchmarks.commit import commit
from benchmarks.scenes import ROWS, Case, evenly, photographs, rounded
from i2r import Degraded, Outcome, Restorer, load_prior
from i2r.metrics import psnr
from i2r.training.degradation import FloatImage

PAGES = Path(__file__).parent / "sweeps"


def sweep(
    restorer: Restorer,
    constant: str,
    values: Sequence[object],
    rows: Sequence[str],
    images: Mapping[str, FloatImage],
) -> dict[object, dict[str, str]]:
    """What comes of every row with each value.

    Args:
        restorer: of the method as it is.
        constant: ``module.NAME`` of what the module reads when it is called.
        values: in its place.
        rows: of :data:`benchmarks.scenes.ROWS`.
        images: by name, (H, W, 3) in [0, 1].
    """
    module, _, name = constant.rpartition(".")
    found: dict[object, dict[str, str]] = {}
    for value in values:
        with patch.object(import_module(module), name, value):
            found[value] = {row: _result(restorer, row, images) for row in rows}
        print(value, found[value], flush=True)
    return found


def _result(restorer: Restorer, row: str, images: Mapping[str, FloatImage]) -> str:
    """Mean PSNR in dB, or of clean images how many changed."""
    cases = [Case(row, name, image) for name, image in images.items()]
    restored = [restorer.restore([Degraded(case.degraded)])[0] for case in cases]
    if row == "clean":
        return f"{sum(one.outcome is not Outcome.UNCHANGED for one in restored)} of {len(cases)} changed"
    gained = [psnr(rounded(one.image), case.clean) for one, case in zip(restored, cases, strict=True)]
    return f"{statistics.fmean(gained):.2f} dB"


def page(constant: str, found: Mapping[object, Mapping[str, str]], images: Sequence[str]) -> str:
    """A table with a line for each value."""
    rows = list(next(iter(found.values())))
    lines = [
        f"# {constant}",
        f"`python -m benchmarks.sweep`, commit {commit() or 'unknown'}, on {', '.join(images)}.",
        "\n".join(
            [
                f"| value | {' | '.join(rows)} |",
                f"|---|{'---|' * len(rows)}",
                *(f"| {value} | {' | '.join(of_value.values())} |" for value, of_value in found.items()),
            ]
        ),
    ]
    return "\n\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("constant", help="module.NAME")
    parser.add_argument("values", nargs="+", type=ast.literal_eval, help="Python literals")
    parser.add_argument(
        "--rows", nargs="+", default=["noise 25/255", "clean"], choices=list(ROWS), metavar="ROW"
    )
    parser.add_argument("--images", type=int, default=4, help="so many of the photographs, evenly spread")
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument("--out", type=Path, default=PAGES)
    options = parser.parse_args(arguments)
    chosen = evenly(photographs(), options.images)
    restorer = Restorer(load_prior(options.prior))
    found = sweep(restorer, options.constant, options.values, options.rows, chosen)
    options.out.mkdir(parents=True, exist_ok=True)
    text = page(options.constant, found, list(chosen))
    (options.out / f"{options.constant}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
