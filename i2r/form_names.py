"""Names of the forms of degradation, for settings: without torch, which takes seconds to load."""

from __future__ import annotations

from collections.abc import Sequence

OPERATORS = ("gaussian_blur", "motion_blur", "small_kernel", "downsampling")
RECORDS = ("noise", "mask", "jpeg")

AUTO = ("auto",)
"""No form is specified; JPEG tables are taken from the file or the pixels, a blur from the spectrum."""
NONE = ("none",)
"""No form is specified, and none is estimated from the image: missing detail counts as a Gaussian blur."""


def parse_forms(forms: str | Sequence[str]) -> tuple[str, ...]:
    """Check names of forms, a sequence or a comma-separated string, in the order in which they happened.

    Valid are :data:`AUTO`, :data:`NONE`, or some of :data:`OPERATORS` followed by some of :data:`RECORDS`.

    Raises:
        ValueError: a name is unknown or given twice, none is given, or an operator follows a record.
    """
    parts = forms.split(",") if isinstance(forms, str) else forms
    names = tuple(part.strip().replace("-", "_") for part in parts)
    if names in (AUTO, NONE):
        return names
    for name in names:
        if name not in OPERATORS + RECORDS:
            known = ", ".join(OPERATORS + RECORDS)
            raise ValueError(f"no form {name!r}: give auto, none, or some of {known}, as they happened")
        if names.count(name) > 1:
            raise ValueError(f"the form {name} is given twice: give it once")
    late = [name in RECORDS for name in names]
    if not names or late != sorted(late):
        raise ValueError(
            f"{', '.join(names) or 'nothing'} cannot be undone: give {', '.join(OPERATORS)} first"
        )
    return names
