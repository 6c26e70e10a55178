"""One picture that shows many pictures side by side, with captions under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _FAINT, _EMPTY = "#ffffff", "#1a1a1a", "#6b6b6b", "#efefef"
_TEXT, _HEADING = 15, 19
_GAP = 14


@dataclass(frozen=True)
class Panel:
    """A picture with a line of text under it; without a picture, an empty frame with the text."""

    caption: str
    picture: Image.Image | None = None


@dataclass(frozen=True)
class Strip:
    """A row of the sheet: a title, and one panel for each column."""

    title: str
    panels: Sequence[Panel]


def contact_sheet(columns: Sequence[str], strips: Sequence[Strip]) -> Image.Image:
    """Lay the strips out under the headings of the columns; nothing is scaled or cut.

    Raises:
        ValueError: a strip does not have one panel for each column.
    """
    for strip in strips:
        if len(strip.panels) != len(columns):
            raise ValueError(f"{strip.title!r} has {len(strip.panels)} panels for {len(columns)} columns")
    text, heading = ImageFont.load_default(_TEXT), ImageFont.load_default(_HEADING)
    line = round(1.5 * _TEXT)
    captions = [panel.caption for strip in strips for panel in strip.panels]
    pictures = [panel.picture for strip in strips for panel in strip.panels if panel.picture]
    words = [heading.getlength(name) for name in columns] + [text.getlength(caption) for caption in captions]
    column_width = max(
        [picture.width for picture in pictures] + [round(width) + 1 for width in words], default=1
    )
    frames = [
        max((panel.picture.height for panel in strip.panels if panel.picture), default=1) for strip in strips
    ]
    titles = max([round(heading.getlength(strip.title)) + 1 for strip in strips], default=1)

    width = max(_GAP + len(columns) * (column_width + _GAP), titles + 2 * _GAP)
    height = 2 * _GAP + 2 * _HEADING + sum(frame + 2 * line + 2 * _GAP for frame in frames)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [_GAP + index * (column_width + _GAP) for index in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        draw.text((left, _GAP), name, fill=_FAINT, font=heading)
    top = _GAP + 2 * _HEADING
    for strip, frame in zip(strips, frames, strict=True):
        draw.text((_GAP, top), strip.title, fill=_INK, font=heading)
        top += line + _GAP // 2
        for left, panel in zip(lefts, strip.panels, strict=True):
            if panel.picture:
                sheet.paste(panel.picture.convert("RGB"), (left, top))
            else:
                draw.rectangle((left, top, left + column_width - 1, top + frame - 1), fill=_EMPTY)
            draw.text((left, top + frame + 4), panel.caption, fill=_INK, font=text)
        top += frame + line + _GAP + _GAP // 2
    return sheet
