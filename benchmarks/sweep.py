"""How a tuned number was chosen: the method's results over several values of it.

    python -m benchmarks.sweep correction.denoising.DENOISING.entry 1.0 1.05 1.1 --rows "noise 25/255"

restores a few photographs of the set that chooses (``benchmarks/photographs``) with each value in turn, and
writes a table to ``benchmarks/sweeps``: the PSNR of every row, and how many clean images changed. Keep
a value where the optimum is flat.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from benchmarks.commit import commit
from benchmarks.scenes import ROWS, Case, evenly, photographs, rounded
from i2r import Degraded, Outcome, Restorer, load_prior
from i2r.metrics import psnr
from i2r.training.degradation import FloatImage

PAGES = Path(__file__).parent / "sweeps"


def sweep(
    restorer: Restorer,
    field: str,
    values: Sequence[object],
    rows: Sequence[str],
    images: Mapping[str, FloatImage],
) -> dict[object, dict[str, str]]:
    """What comes of every row with each value.

    Args:
        restorer: of the method as it is.
        field: see :func:`changed`.
        values: of the field, in turn.
        rows: of :data:`benchmarks.scenes.ROWS`.
        images: by name, (H, W, 3) in [0, 1].
    """
    found: dict[object, dict[str, str]] = {}
    for value in values:
        with changed(field, value):
            found[value] = {row: _result(restorer, row, images) for row in rows}
        print(value, found[value], flush=True)
    return found


@contextmanager
def changed(field: str, value: object) -> Iterator[None]:
    """Give a tuned number another value within the context.

    Its dataclass is one object, however many modules import it. So the field is set in that object, frozen as
    it is, and every module reads the value.

    Args:
        field: ``module.INSTANCE.field`` below ``i2r``, such as ``screening.graininess.GRAIN.window``.
        value: in its place.

    Raises:
        AttributeError: there is no such field.
    """
    place, _, name = field.rpartition(".")
    module, _, instance = place.rpartition(".")
    tuning = getattr(import_module(f"i2r.{module}"), instance)
    before = getattr(tuning, name)
    object.__setattr__(tuning, name, value)
    try:
        yield
    finally:
        object.__setattr__(tuning, name, before)


def _result(restorer: Restorer, row: str, images: Mapping[str, FloatImage]) -> str:
    """Mean PSNR in dB, or of clean images how many changed."""
    cases = [Case(row, name, image) for name, image in images.items()]
    restored = [restorer.restore([Degraded(case.degraded)])[0] for case in cases]
    if row == "clean":
        return f"{sum(one.outcome is not Outcome.UNCHANGED for one in restored)} of {len(cases)} changed"
    gained = [psnr(rounded(one.image), case.clean) for one, case in zip(restored, cases, strict=True)]
    return f"{statistics.fmean(gained):.2f} dB"


def page(field: str, found: Mapping[object, Mapping[str, str]], images: Sequence[str]) -> str:
    """A table with a line for each value."""
    rows = list(next(iter(found.values())))
    lines = [
        f"# {field}",
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
    parser.add_argument("field", help="module.INSTANCE.field below i2r")
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
    found = sweep(restorer, options.field, options.values, options.rows, chosen)
    options.out.mkdir(parents=True, exist_ok=True)
    text = page(options.field, found, list(chosen))
    (options.out / f"{options.field}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
