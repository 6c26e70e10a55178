"""Clean pictures of many kinds, in two sets: one chooses constants, the other is only measured.

    python -m benchmarks.clean_pictures SNAPSHOTS PICTURES

cuts the pictures of `clean_pictures.csv` out of snapshots of public repositories: SNAPSHOTS holds a clone
of each, `<owner>+<name>`. They serve to measure and stay out of this repository, since many of their
licences are for research; the list travels. A picture that was a JPEG file is reduced at least twice, so that
nothing of its blocks is left. All pictures of a scene, a person or a series have one role.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drawn_pages import KINDS, draw_page
from i2r.alarms import in_gray
from i2r.training.degradation import FloatImage

LIST = Path(__file__).with_suffix(".csv")
CHOOSE, MEASURE = "choose", "measure"
"""Roles: what chooses constants and calibrates, and what no choice has seen."""
NO_PHOTOGRAPHS = {"books", "charts", "comics", "maps", "medical", "pixel", "ui"}
DELIBERATE = {"grain"}
"""Kinds whose change is no harm by default: counted apart."""


@dataclass(frozen=True)
class CleanPicture:
    """A picture that must come back as it is.

    Attributes:
        kind: such as `faces`.
        name: unique within its kind.
        path: of its file; None for a drawn page.
        seed: of a drawn page.
        in_gray: whether it is looked at without its colours.
    """

    kind: str
    name: str
    path: Path | None = None
    seed: int = 0
    in_gray: bool = False

    @property
    def drawn(self) -> bool:
        return self.path is None

    @property
    def photograph(self) -> bool:
        return not self.drawn and self.kind not in NO_PHOTOGRAPHS

    def pixels(self) -> FloatImage:
        """(H, W, 1) or (H, W, 3) in [0, 1]."""
        if self.path is None:
            image = draw_page(self.kind.removeprefix("drawn "), self.seed)
        else:
            with Image.open(self.path) as file:
                image = file.convert("L" if file.mode == "L" else "RGB")
        picture = np.atleast_3d(np.asarray(image, np.float32)) / np.float32(255)
        return in_gray(picture) if self.in_gray else picture


def clean_pictures(
    folder: Path | None, role: str, drawn: int, *, in_gray: bool = False
) -> list[CleanPicture]:
    """Pictures of a role: so many drawn pages of each kind, then those of a folder, the small ones first."""
    found = []
    if folder is not None:
        paths = sorted((folder / role).glob("*/*.png"), key=lambda path: (path.stat().st_size, path))
        found = [CleanPicture(path.parent.name, path.stem, path, in_gray=in_gray) for path in paths]
    odd = int(role == MEASURE)
    pages = [
        CleanPicture(f"drawn {kind}", str(seed), seed=seed, in_gray=in_gray)
        for kind in KINDS
        for seed in range(odd, 2 * drawn, 2)
    ]
    return pages + found


def build(snapshots: Path, out: Path) -> Iterator[Path]:
    """Write every picture of the list whose repository is there to `out/<role>/<kind>/<id>.png`."""
    with LIST.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            clone = snapshots / row["repository"].replace("/", "+")
            if clone.exists():
                target = out / row["role"] / row["kind"] / f"{row['id']}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                _cut(clone, row).save(target)
                yield target


def _cut(clone: Path, row: Mapping[str, str]) -> Image.Image:
    """A picture of the list: reduced by its factor, then cropped."""
    git = ["git", "-C", str(clone), "cat-file", "blob", f"{row['commit']}:{row['path']}"]
    with Image.open(io.BytesIO(subprocess.check_output(git))) as file:
        image = _flattened(file).convert("L" if row["gray"] == "1" else "RGB")
    if (factor := int(row["reduce"])) > 1:
        width, height = (side // factor * factor for side in image.size)
        image = image.crop((0, 0, width, height)).reduce(factor)
    if row["crop"]:
        x, y, width, height = (int(number) for number in row["crop"].split(","))
        image = image.crop((x, y, x + width, y + height))
    return image


def _flattened(image: Image.Image) -> Image.Image:
    """In 8 bits, on white where it is transparent."""
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image, np.float64) - np.min(np.asarray(image))
        return Image.fromarray(np.rint(levels / max(levels.max(), 1) * 255).astype(np.uint8))
    if image.mode in ("P", "PA", "LA", "RGBA"):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("snapshots", type=Path)
    parser.add_argument("pictures", type=Path)
    options = parser.parse_args(arguments)
    built = list(build(options.snapshots, options.pictures))
    print(f"{len(built)} pictures")


if __name__ == "__main__":
    main()
