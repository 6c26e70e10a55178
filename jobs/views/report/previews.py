"""Previews: small files of the pictures before and after, which stay for the next page of the same run."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue

import numpy as np
from PIL import Image

from jobs.views.report.pictures import Picture
from jobs.views.report.site import Site
from pipeline import Decoder, from_float, to_float
from pipeline.errors import OF_THE_WORLD, ErrorCode, ItemError
from pipeline.records.summary import OnProgress, Progress
from pipeline.settings import RunSettings

FOLDER = "pictures"
LARGE, SMALL, LEAST = 1024, 256, 64
"""Most pixels along a side: where the page cannot show the file, where it can, and in the last resort."""
SHARE = 0.06
"""Of its file's bytes that a preview may take, half of it where there is one of either side."""
QUALITIES = 70, 45
REFUSALS = 3
"""Errors of the world, one after another, after which a store is not asked again for this page."""

Read = Callable[[Picture], bytes]


@dataclass
class Side:
    """The pictures before, or those after.

    Attributes:
        read: the bytes of one.
        shown: whether the page shows its file, so that a small preview will do.
        refusal: why it was not asked any more, or None.
    """

    read: Read
    shown: Callable[[Picture], bool]
    refusal: str | None = None
    _refused: int = field(default=0, init=False)

    def bytes_of(self, picture: Picture) -> bytes:
        """The bytes of a picture. Raises ItemError."""
        if self.refusal:
            raise ItemError(ErrorCode.STORAGE, self.refusal)
        try:
            data = self.read(picture)
        except ItemError as error:
            self._refused = self._refused + 1 if error.code in OF_THE_WORLD else 0
            if self._refused >= REFUSALS:
                self.refusal = error.message
            raise
        self._refused = 0
        return data


@dataclass(frozen=True)
class _Order:
    """A preview to make: its name, of which picture, and of which side."""

    name: str
    picture: Picture
    side: Side


class Previews:
    """Makes the previews of a page.

    Args:
        site: where they are written.
        settings: the limits for decoding.

    Attributes:
        names: of those that there are.
        reasons: why there are none of others, by name.
    """

    def __init__(self, site: Site, settings: RunSettings) -> None:
        self._site, self._settings = site, settings
        found = site.names(FOLDER)
        self.names = {name.removesuffix(".webp") for name in found if name.endswith(".webp")}
        self.reasons: dict[str, str] = {}

    def make(self, pictures: Sequence[Picture], before: Side, after: Side, on_progress: OnProgress) -> None:
        """Make those that are missing. Raises RunError if the site takes no writes."""
        orders = {order.name: order for order in _orders(pictures, before, after)}
        missing = [order for name, order in orders.items() if name not in self.names]
        threads = max(1, min(len(missing), len(os.sched_getaffinity(0))))
        memory, seconds = self._settings.decode_memory_mib << 20, self._settings.decode_seconds
        done, lock = 0, threading.Lock()
        with ExitStack() as stack:
            decoders: SimpleQueue[Decoder] = SimpleQueue()
            for _ in range(threads if missing else 0):
                decoders.put(stack.enter_context(Decoder(memory, seconds)))

            def one(order: _Order) -> None:
                nonlocal done
                decoder = decoders.get()
                try:
                    self._make(order, decoder)
                finally:
                    decoders.put(decoder)
                with lock:
                    done += 1
                    on_progress(Progress(done=done, total=len(missing), stage="previews"))

            with ThreadPoolExecutor(threads) as pool:
                waiting = iter(missing)
                while some := list(islice(waiting, 8 * threads)):
                    list(pool.map(one, some))

    def _make(self, order: _Order, decoder: Decoder) -> None:
        try:
            data = order.side.bytes_of(order.picture)
            pixels = decoder.decode(data, max_pixels=self._settings.max_pixels).pixels
        except ItemError as error:
            self.reasons[order.name] = error.message
            return
        shown = order.side.shown(order.picture)
        if preview := smaller(pixels, len(data), shown=shown):
            self._site.write(f"{FOLDER}/{order.name}.webp", preview)
            self.names.add(order.name)


def _orders(pictures: Sequence[Picture], before: Side, after: Side) -> Iterator[_Order]:
    """Previews of what is stored, and of those sources that the page cannot show by themselves."""
    for picture in pictures:
        if picture.after:
            yield _Order(picture.after, picture, after)
            if picture.before and picture.before != picture.after and not before.shown(picture):
                yield _Order(picture.before, picture, before)


def smaller(pixels: np.ndarray, size: int, *, shown: bool) -> bytes | None:
    """A preview of a picture whose file has `size` bytes, as WebP, in as few of them as `SHARE` says.

    If even the smallest takes more, there is none where the page shows the file itself; elsewhere it is the
    smallest.
    """
    side, most = (SMALL, SHARE * size) if shown else (LARGE, SHARE * size / 2)
    if pixels.dtype != np.uint8:
        pixels = from_float(to_float(pixels), np.dtype(np.uint8))
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    while side >= LEAST:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        for quality in QUALITIES:
            stream = io.BytesIO()
            picture.save(stream, "WEBP", quality=quality, method=2)
            if stream.tell() <= most:
                return stream.getvalue()
        side = side * 3 // 4
    return None if shown else stream.getvalue()


def files_of(picture: Picture, previews: Previews) -> Mapping[str, str]:
    """What the page is told of a picture's previews: their names, or why there are none."""
    told: dict[str, str] = {}
    for side, name in (("after", picture.after), ("before", picture.before)):
        if name is None or (side == "before" and name == picture.after):
            continue
        if name in previews.names:
            told[side] = name
        elif name in previews.reasons:
            told[f"no_{side}"] = previews.reasons[name]
    return told
