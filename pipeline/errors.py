"""Errors of this package, and the codes that rows record them by.

    PipelineError            base of everything this package raises on purpose
    ├── RunError             belongs to the run and stops it (bucket denied, no space left, prior broken)
    │   ├── SettingsError   the settings or arguments are wrong; nothing was written
    │   ├── RefusedError    a share that the settings bound would be passed; no image or row was written
    │   │   ├── RedoError   too many finished images would be restored again
    │   │   └── PruneError  too many restored images would be removed
    │   └── LeaseHeldError  another run writes to this destination
    │       └── LeaseLostError  another run took the destination over during this one
    ├── DeviceLostError      belongs to one process, which must end: its GPU no longer works in it
    └── ItemError            belongs to one image and becomes one `failed` row
        └── CodecError       the image's bytes could not be decoded or encoded

An `ItemError` has a code of the closed set `ErrorCode` and a short message for a person. A code is of the
image, and final until the image or the settings change, or it is of the world, and never final.
"""

from __future__ import annotations

from enum import StrEnum

MAX_MESSAGE = 300
"""Characters of an error message that are kept: a manifest may have a hundred million rows."""


class ErrorCode(StrEnum):
    """Why an input has no restored image: the closed set of the manifest's column `error_code`."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    BAD_KEY = "bad_key"
    NOT_FOUND = "not_found"
    NUMERICAL = "numerical"
    FORBIDDEN = "forbidden"
    STORAGE = "storage"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_DIED = "worker_died"
    INTERNAL = "internal"


OF_THE_WORLD = frozenset(
    {
        ErrorCode.FORBIDDEN,
        ErrorCode.STORAGE,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.WORKER_DIED,
        ErrorCode.INTERNAL,
    }
)
"""Codes that no image is to blame for: never final, and many in a row stop a node or the run."""
HOPELESS = frozenset({ErrorCode.TRUNCATED, ErrorCode.UNSUPPORTED, ErrorCode.CRASHED})
"""Codes of the image that no new attempt changes as long as its source is the same."""


def bounded_text(text: str, limit: int = MAX_MESSAGE) -> str:
    """Text as one printable line of at most `limit` characters; runs of blanks and control characters become
    one blank."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class PipelineError(Exception):
    """Base of everything that this package raises on purpose."""


class RunError(PipelineError):
    """Belongs to the run and stops it: no single image is to blame."""


class SettingsError(RunError):
    """The settings or arguments of a run are wrong: nothing was started, and nothing written."""


class RefusedError(RunError):
    """A share that the settings bound would be passed: no image or row was written.

    Attributes:
        setting: name of the share.
        question: asks a person whether to pass it.
    """

    setting: str
    question: str


class RedoError(RefusedError):
    """More finished images would be restored again than `max_redo` allows."""

    setting, question = "max_redo", "Restore them again?"


class PruneError(RefusedError):
    """More restored images would be removed than `max_pruned` allows."""

    setting, question = "max_pruned", "Remove them?"


class LeaseHeldError(RunError):
    """Another run writes to this destination."""


class LeaseLostError(LeaseHeldError):
    """Another run took this destination over."""


class DeviceLostError(PipelineError):
    """The GPU of this process no longer works in it: the process must end, and another try its images."""


class ItemError(PipelineError):
    """Belongs to one image and becomes one `failed` row.

    Args:
        code: which of the closed set it is.
        message: one line for a person; cut to `MAX_MESSAGE` characters.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        self.code = ErrorCode(code)
        self.message = bounded_text(message)
        super().__init__(self.code, self.message)  # both arguments, so that it can be unpickled

    def __str__(self) -> str:
        return self.message


class CodecError(ItemError):
    """The bytes of an image could not be decoded or encoded."""
