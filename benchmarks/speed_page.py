"""The page of the benchmark of speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.baselines import BIRD_STOPS, FAST_STRENGTHS, TV_WEIGHTS, UNTRAINED_STOPS
from benchmarks.machine import in_words

OURS = "ours, blind"
FAST = "OpenCV non-local means"
ABSENT = "not measured"
HEAD = ("size", "degradation", "outcome", "PSNR", "seconds", "evaluated over image pixels", "NFE", "ratio")


def page(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "# Speed",
        "",
        f"`python -m benchmarks.speed`: the photograph `{record['photograph']}` of scikit-image (600x400 px, "
        "unseen in training, though a crop of it was among those that chose constants: its seconds are what "
        "counts here): its middle, and beyond its size mirrored at its right and lower edge, then degraded. "
        "Seconds of a clock, from an array in memory to another, the fewest of several times where "
        "that is soon done. One setting for all, blind.",
        f"Prior `{record['prior']}` ({record['prior_sha256'][:12]}), {in_words(record['machine'])}; "
        f"commit {record['commit'] or 'unknown'}.",
        "",
        "## Ours beside the network alone",
        "",
        *_network(record),
        "",
        _line(HEAD),
        "|---" * len(HEAD) + "|",
        *(
            _line([_shape(record, size), kind, *_ours(row)])
            for size, rows in record["measured"].items()
            for kind, row in rows.items()
        ),
        "",
        "## Beside what a user would pick instead",
        "",
        "PSNR in dB and seconds, on the same images.",
    ]
    for size, rows in record["measured"].items():
        names = [name for name in record["columns"] if any(name in row for row in rows.values())]
        if names:
            lines += ["", f"### {_shape(record, size)} px", "", *_table(rows, names)]
    return "\n".join([*lines, "", *NOTES, ""])


def _network(record: Mapping[str, Any]) -> list[str]:
    network = record["network"]
    if not network:
        return ["The network alone was not measured."]
    return [
        f"The network alone takes {1e6 * network['seconds_a_pixel']:.2f} us a pixel at its best, in tiles of "
        f"{network['tile']} px: it is measured beside each row, and the fewest seconds count. NFE are passes "
        "over the whole image, or, where a large one is screened, over a sample of it. Evaluated over image "
        "pixels: of a pass, in tiles. Ratio: of the seconds to NFE x image pixels x that time.",
    ]


def _ours(row: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if OURS not in row:
        return [ABSENT, *[""] * (len(HEAD) - 3)]
    cell = row[OURS]
    return [
        cell["outcome"],
        f"{cell['input']:.2f} -> {cell['psnr']:.2f}",
        f"{cell['seconds']:.2f}",
        f"{cell['evaluated_over_image']:.2f}",
        f"{cell['nfe']:.0f}",
        f"{cell['ratio']:.2f}",
    ]


def _table(rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    lines = [_line(["degradation", "input", *names]), "|---" * (2 + len(names)) + "|"]
    for kind, row in rows.items():
        taken = next((f"{cell['input']:.2f}" for cell in row.values()), "")
        texts = [
            f"{row[name]['psnr']:.2f}, {row[name]['seconds']:.2f} s" if name in row else ABSENT
            for name in names
        ]
        lines.append(_line([kind, taken, *texts]))
    return lines


def _shape(record: Mapping[str, Any], size: str) -> str:
    height, width = record["sizes"][size]
    return f"{width}x{height}"


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


NOTES = (
    "## Notes",
    "",
    "- One photograph: averages over 24 are in [quality.md](quality.md). PSNR of equal images counts as 99.",
    "- A clean image ought to come back unchanged: one that is said to be restored is a false alarm.",
    "- All methods may take as many threads as the first lines say; the filters of scikit-image take one.",
    f"- Of total variation the best of {len(TV_WEIGHTS)} weights counts, and of OpenCV's "
    f"`fastNlMeansDenoisingColored` the best of {len(FAST_STRENGTHS)} strengths: picked with the original at "
    "hand, which nobody could blindly, and with the seconds of that one. Of Deep Image Prior the best of "
    f"{len(UNTRAINED_STOPS)} stops ({UNTRAINED_STOPS[-1]} iterations at most) and of BIRD that of "
    f"{len(BIRD_STOPS)} ({BIRD_STOPS[-1]} of ten evaluations each) count likewise, with the seconds until "
    "there; BIRD is given the true kernel of the blur. Non-local means and the wavelet filter are given the "
    "noise that scikit-image estimates.",
    "- DreamClean and BIRD have the same prior as ours, evaluated on the whole image at once. They and Deep "
    "Image Prior are measured at 128 and 256 px.",
    "- BM3D is not measured: the licence of its package on PyPI (`bm3d` 4.0.3, of Tampere University) lets "
    'it be used where that is "informational and having non-commercial scope only".',
)
