"""A degraded image, with what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from i2r.jpeg_tables import JpegTables

if TYPE_CHECKING:
    from i2r.screening.trace import Trace


@dataclass(frozen=True)
class Degraded:
    """Input of :class:`i2r.restorer.Restorer`.

    Attributes:
        image: (H, W, C) float32 in [0, 1], C 1 or 3.
        tables: quantisation tables of the JPEG file it was decoded from; None if it was not a JPEG.
        protected: (H, W), the pixels to return unchanged; None if all may change. The prior sees them and
            screening tests them, but the consistency of the result is not measured on them.
        trace: filled with the intermediate stages; None to keep none.
        hidden: (H, W), the pixels that nobody sees, such as transparent ones; None if all are seen. They are
            returned unchanged, and neither the prior nor the screening sees what they hold.
    """

    image: np.ndarray
    tables: JpegTables | None = None
    protected: NDArray[np.bool_] | None = None
    trace: Trace | None = None
    hidden: NDArray[np.bool_] | None = None
