"""`i2r inspect`: one picture of what the method detected in an image and how it changed it."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from i2r import (
    STATISTICS,
    Degraded,
    Finding,
    Look,
    Outcome,
    Restoration,
    Restorer,
    Trace,
    What,
    load_prior,
    self_test,
)
from i2r.errors import I2RError
from jobs.views.contact_sheet import Panel, Strip, contact_sheet
from jobs.views.findings import in_words
from pipeline import Decoder, Picture, local_prior, open_source, protected_pixels, to_float
from pipeline.errors import ItemError, SettingsError
from pipeline.settings import RunSettings

SHOWN = 480
"""Most pixels along the longer side of a picture on the sheet; small images are enlarged."""
AMPLIFIED = 4
"""Factor by which the difference is multiplied."""
SIGMAS = 3.0
"""Noise at the calibration's level that is shown as white or black, in standard deviations of that level."""
DAMAGE = 0.5
"""Noise at the damage level that is shown as white or black, in units of the range [-1, 1]."""

_COLUMNS = ("before", "after", "what changed")
_MOVED = np.array([1.0, 0.1, 0.5], np.float32)
_PAPER, _INK, _ALARM = "#ffffff", "#1a1a1a", "#c4001a"
_TEXT, _LINE, _WRAP = 15, 22, 50
_COLOURS = {What.MISSING_PIXELS: STATISTICS["tails"].colour, What.NOISE: STATISTICS["patchy"].colour} | {
    statistic.what: statistic.colour for statistic in STATISTICS.values() if statistic.colour
}

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Anatomy:
    """One restored image, with a trace of its restoration.

    Attributes:
        name: of the image.
        image: (H, W, C) in [0, 1], as it was decoded.
        restoration: the result.
        trace: intermediate values of the restoration.
        seconds: that the restoration took.
    """

    name: str
    image: Pixels
    restoration: Restoration
    trace: Trace
    seconds: float


def dissect(address: str, settings: RunSettings, mask: str | None = None) -> Anatomy:
    """Restore one image, as a run with these settings would, and keep the trace.

    Args:
        address: of one object, of any supported format.
        settings: of a run.
        mask: address of an image of the same size; pixels that are white in it stay unchanged. Or None.

    Raises:
        SettingsError: there is no such image, it cannot be read, or the prior or a setting is wrong.
    """
    with Decoder(settings.decode_memory_mib << 20, settings.decode_seconds) as decoder:
        picture = _read(address, decoder, settings)
        protected = None
        if mask is not None:
            its_picture = _read(mask, decoder, settings)
            try:
                protected = protected_pixels(its_picture, picture.pixels.shape, mask)
            except ItemError as error:
                raise SettingsError(str(error)) from error
    restorer = _restorer(settings)
    image, trace, start = to_float(picture.pixels), Trace(), time.perf_counter()
    [restoration] = restorer.restore([Degraded(image, picture.tables, protected, trace, picture.hidden)])
    return Anatomy(address.rpartition("/")[2], image, restoration, trace, time.perf_counter() - start)


def _read(address: str, decoder: Decoder, settings: RunSettings) -> Picture:
    source = open_source(address, private=settings.private_addresses)
    if source.pattern is None or not source.single:
        raise SettingsError(f"{address} is not one image: name one of those in it")
    try:
        data = source.store.read(source.pattern, settings.decode_memory_mib << 20)
        return decoder.decode(data, max_pixels=settings.max_pixels)
    except ItemError as error:
        raise SettingsError(f"{source.extent.uri()} cannot be inspected: {error}") from error


def _restorer(settings: RunSettings) -> Restorer:
    """A restorer with a tested prior, on a GPU if there is one. Raises SettingsError."""
    import torch

    torch.set_num_threads(settings.threads)
    try:
        prior = load_prior(str(local_prior(settings.prior)), precision=settings.method.precision)
        self_test(prior)
        return Restorer(prior, settings.method)
    except I2RError as error:
        raise SettingsError(str(error)) from error


def draw(anatomy: Anatomy) -> Image.Image:
    """Draw all steps of the restoration on one sheet."""
    size = _shown_size(anatomy.image)
    image, trace, outcome = anatomy.image, anatomy.trace, anatomy.restoration.outcome
    result = image if trace.result is None else trace.result
    difference = 0.5 + AMPLIFIED * (result - image)
    strips = [
        Strip(
            f"{anatomy.name}: {outcome.value}",
            (
                Panel(_found(anatomy), _with_boxes(anatomy, size)),
                Panel(_after(anatomy), _shown(result, size, Image.Resampling.BOX)),
                Panel(f"after - before, x {AMPLIFIED}, zero is gray", _shown(difference, size)),
            ),
        )
    ]
    extra = [Panel(_replaced(anatomy), _mask(anatomy, size)), Panel("", _words(anatomy))]
    if not trace.looks:
        return contact_sheet(_COLUMNS, [*strips, Strip("too small to test", (Panel(""), *extra))])
    first, last = trace.looks[0], trace.looks[-1]
    level, damage_level = first.calibration.level, first.calibration.damage_level
    eps = [Panel(_spread(look), _noise(look.eps / SIGMAS, size)) for look in (first, last)]
    noise = [Panel("", _noise(look.noise / DAMAGE, size)) for look in (first, last)]
    return contact_sheet(
        _COLUMNS,
        [
            *strips,
            Strip(f"noise at level {level:g}, black and white at {SIGMAS:g} sigma", (*eps, extra[0])),
            Strip(f"noise at level {damage_level:g}, black and white at {DAMAGE:g}", (*noise, extra[1])),
        ],
    )


def facts(anatomy: Anatomy) -> dict[str, str]:
    """Measurements by name, as text."""
    seen = anatomy.restoration
    height, width, channels = anatomy.image.shape
    found = {
        "image": f"{width} x {height}, {'gray' if channels == 1 else 'colour'}",
        "outcome": seen.outcome.value,
        "found": "; ".join(map(in_words, seen.findings)) or "nothing",
        "typicality": f"{_figure(seen.typicality_before)}, then {_figure(seen.typicality_after)}",
        "replaced": f"{seen.rectified_fraction:.1%} of the pixels",
        "consistency": "all the same"
        if math.isinf(seen.consistency_psnr)
        else f"{seen.consistency_psnr:.1f} dB",
        "nfe": str(seen.nfe),
        "seconds": f"{anatomy.seconds:.1f}",
    }
    found |= {form: _parameters(values) for form, values in seen.parameters.items()}
    return found | ({"message": seen.message} if seen.message else {})


def p_values(anatomy: Anatomy) -> list[tuple[str, bool]]:
    """A line for each statistic, the least typical first, and whether the image fails its test."""
    if not anatomy.trace.looks:
        return []
    before, after = (anatomy.trace.looks[index].screening for index in (0, -1))
    return [
        (
            f"{name}, {STATISTICS[name].label}: p = {_figure(p)}, then {_figure(after.p_values[name])}",
            name in before.atypical,
        )
        for name, p in sorted(before.p_values.items(), key=lambda item: item[1])
    ]


def _found(anatomy: Anatomy) -> str:
    if not anatomy.trace.looks:
        return "not tested"
    return ", ".join(map(_name, anatomy.restoration.findings)) or "nothing is found"


def _name(finding: Finding) -> str:
    return f"{finding.what} {finding.action}"


def _after(anatomy: Anatomy) -> str:
    if anatomy.trace.result is None:
        return "the same"
    rejected = anatomy.restoration.outcome is Outcome.REJECTED
    return "rejected: the input is kept" if rejected else "restored"


def _replaced(anatomy: Anatomy) -> str:
    return f"{anatomy.restoration.rectified_fraction:.1%} of the pixels replaced or moved"


def _spread(look: Look) -> str:
    return f"rms {np.sqrt(np.square(look.eps).mean()):.2f} of the level"


def _figure(value: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:.2g}" if value >= 1e-4 or value == 0 else f"{value:.0e}"


def _parameters(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_short(part) for part in value[:6]) + (" ..." if len(value) > 6 else "")
    return str(value)


def _shown_size(image: Pixels) -> tuple[int, int]:
    """Width and height on the sheet: enlarged by a whole number, or reduced to `SHOWN`."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= SHOWN:
        times = SHOWN // longest
        return width * times, height * times
    return max(1, round(width * SHOWN / longest)), max(1, round(height * SHOWN / longest))


def _shown(
    pixels: NDArray[np.floating[Any]],
    size: tuple[int, int],
    resampling: Image.Resampling = Image.Resampling.NEAREST,
) -> Image.Image:
    """Resize (H, W, C) in [0, 1] to its size on the sheet; by default without averaging, which would remove
    noise.
    """
    channels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
    picture = Image.fromarray(np.rint(255 * np.clip(channels, 0, 1)).astype(np.uint8))
    return picture.convert("RGB").resize(size, resampling)


def _noise(share: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """Draw (C, H, W) noise in [-1, 1] around gray; of latents the first three channels."""
    return _shown(0.5 + share.transpose(1, 2, 0) / 2, size)


def _with_boxes(anatomy: Anatomy, size: tuple[int, int]) -> Image.Image:
    """Draw the input with a frame around every place at which something lies."""
    picture = _shown(anatomy.image, size, Image.Resampling.BOX)
    drawing, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT)
    down, across = size[1] / anatomy.image.shape[0], size[0] / anatomy.image.shape[1]
    local = [finding for finding in anatomy.restoration.findings if finding.boxes]
    for inset, finding in enumerate(local):
        for box in finding.boxes:
            left, top = box[0] * across + 3 * inset, box[1] * down + 3 * inset
            right, bottom = box[2] * across - 1 - 3 * inset, box[3] * down - 1 - 3 * inset
            if right > left and bottom > top:
                colour, place = _COLOURS[finding.what], (left + 6, top + 4 + _LINE * inset)
                drawing.rectangle((left, top, right, bottom), outline=colour, width=2)
                drawing.text(place, _name(finding), colour, font, stroke_width=2, stroke_fill=_INK)
    return picture


def _mask(anatomy: Anatomy, size: tuple[int, int]) -> Image.Image:
    """Draw the input dimmed, with the replaced pixels tinted."""
    faint = np.repeat(0.5 * anatomy.image.mean(axis=2, keepdims=True), 3, axis=2)
    picture = _shown(faint, size, Image.Resampling.BOX)
    if anatomy.trace.moved is None:
        return picture
    # The square root keeps a single moved pixel visible where many pixels become one.
    moved = Image.fromarray(255 * anatomy.trace.moved.astype(np.uint8)).resize(size, Image.Resampling.BOX)
    share = np.sqrt(np.asarray(moved, np.float32) / 255)[..., None]
    tinted = np.asarray(picture, np.float32) / 255 * (1 - 0.7 * share) + 0.7 * share * _MOVED
    return _shown(tinted, size)


def _words(anatomy: Anatomy) -> Image.Image:
    """Draw the p-values and measurements as text."""
    lines = p_values(anatomy)
    lines += [("", False)] * bool(lines)
    for name, text in facts(anatomy).items():
        lines += [(line, False) for line in textwrap.wrap(f"{name}: {text}", _WRAP, subsequent_indent="    ")]
    font = ImageFont.load_default(_TEXT)
    width = max(round(font.getlength(text)) + 1 for text, _ in lines)
    picture = Image.new("RGB", (width, _LINE * len(lines)), _PAPER)
    drawing = ImageDraw.Draw(picture)
    for number, (text, alarm) in enumerate(lines):
        drawing.text((0, _LINE * number), text, _ALARM if alarm else _INK, font)
    return picture
