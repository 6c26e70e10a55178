"""An image to restore, and what is known of it."""

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
    """What a :class:`i2r.restorer.Restorer` is given.

    Attributes:
        image: (H, W, C) float32 in [0, 1], C 1 or 3.
        tables: what the JPEG file that it came from says of itself; None where it came from none.
        protected: (H, W), the pixels that come back as they were; None where all may move. They are seen, and
            looked at when the image is screened, but not compared with the result.
        trace: what keeps the stages, where they are wanted.
    """

    image: np.ndarray
    tables: JpegTables | None = None
    protected: NDArray[np.bool_] | None = None
    trace: Trace | None = None
