"""Plain words of the report and the documentation: what is found, what came of it, why images fail."""

from __future__ import annotations

from collections.abc import Mapping

from i2r import Action, What
from pipeline.errors import ErrorCode
from pipeline.records.manifest import Status

FINDINGS: Mapping[What, str] = {
    What.NOISE: "Grain all over the picture, as of a dark room, a fast film or a cheap sensor.",
    What.NOISE_IN_A_PART: "Grain in some part of the picture only, most often in its shadows.",
    What.BLUR: "Edges are soft: out of focus, or the camera moved.",
    What.LOW_RESOLUTION: "The picture was enlarged: it has more pixels than detail.",
    What.BLOCKS: "Squares of 8 pixels and halos at edges, left by strong JPEG compression.",
    What.DEAD_PIXELS: "Single pixels of a wrong colour, of a broken sensor or a transfer that went wrong.",
    What.STREAKS: "Thin lines over the picture: scratches of a film, rain.",
    What.MARKS: "Something lies over the picture: dust, a hair, a drop, a stain.",
    What.MISSING_PIXELS: "Pixels that a mask says are missing.",
}
"""What each thing looks like."""

ACTIONS: Mapping[Action, str] = {
    Action.CORRECTED: "It was certain, and the picture that is stored has a correction of it.",
    Action.REMAINS: "It was certain, and still shows in the picture that is stored.",
    Action.SUSPECTED: "It was not certain enough to touch the picture: look at it, and decide.",
}
"""What came of a finding."""

STATUSES: Mapping[Status, str] = {
    Status.RESTORED: "Something was corrected, and the result is stored.",
    Status.UNCHANGED: "Nothing was certain enough to touch it: the source's own bytes are stored.",
    Status.REJECTED: "The result was too unlike its source, so the source's own bytes are stored.",
    Status.FAILED: "It could not be read or handled: nothing is stored for it.",
}
"""How a picture ended."""

_CHANGE = "Replace its source by a good copy: the next run then tries it again."
_RETRY = "Mend its source or raise the limit, then run again with --retry-failed."
_NEXT = "The next run tries it again, without being told to."

FAILURES: Mapping[ErrorCode, tuple[str, str]] = {
    ErrorCode.TRUNCATED: ("The file breaks off.", _CHANGE),
    ErrorCode.UNSUPPORTED: ("A format, a kind of it or an address that cannot be read.", _CHANGE),
    ErrorCode.CRASHED: ("It killed the process that handled it alone, twice.", _CHANGE),
    ErrorCode.UNREADABLE: ("No picture, or a broken one.", _RETRY),
    ErrorCode.TOO_LARGE: (
        "Above max_pixels or decode_memory_mib, or more than the machine can hold.",
        _RETRY,
    ),
    ErrorCode.TIMEOUT: ("Decoding took longer than decode_seconds.", _RETRY),
    ErrorCode.BAD_KEY: ("A name that cannot be written, or whose output another picture has.", _RETRY),
    ErrorCode.NOT_FOUND: ("It was listed, and was gone.", _RETRY),
    ErrorCode.NUMERICAL: ("The method found no finite result.", _RETRY),
    ErrorCode.FORBIDDEN: ("The credentials may not read it: give them the right to.", _NEXT),
    ErrorCode.STORAGE: ("The store did not answer, or holds an object there that is not ours.", _NEXT),
    ErrorCode.OUT_OF_MEMORY: ("The device has too little memory for it.", _NEXT),
    ErrorCode.WORKER_DIED: ("The process that handled it was killed.", _NEXT),
    ErrorCode.INTERNAL: ("An error that nobody foresaw: its message says more.", _NEXT),
}
"""Why a picture failed, and what to do."""

MEASURES: Mapping[str, str] = {
    "sure": "One minus the chance that a clean photograph shows as much of it.",
    "gain": "How much closer to the clean picture such a correction brings it, in dB.",
    "change": "How far the result is from its source at coarse scale, of 255; 1 is hardly seen.",
    "at most risk": (
        "Restored pictures first, those that changed most before the others; then those in which something "
        "is suspected, the surest first; then what was rejected, what failed, and what stays as it was."
    ),
}
"""What the page's numbers and its order mean."""
