"""Findings in words."""

from __future__ import annotations

from i2r import Finding
from pipeline.records.findings import Counts


def in_words(finding: Finding) -> str:
    """Such as `marks suspected, 97 % sure, 3 % of the pixels in 2 places`."""
    places, share = len(finding.boxes), f"{_percent(finding.share)} of the pixels"
    parts = [
        f"{finding.what} {finding.action}",
        f"{_percent(finding.confidence)} sure",
        f"{share} in {places} place{'s' if places > 1 else ''}" if places else share,
    ]
    if finding.gain is not None:
        parts.append(f"about {finding.gain:+.1f} dB")
    return ", ".join(parts)


def counts_in_words(counts: Counts) -> str:
    """Such as `7 noise, 3 blur corrected; 2 marks suspected`; empty if nothing was found."""
    return "; ".join(
        f"{', '.join(f'{number} {what}' for what, number in found.items())} {action}"
        for action, found in counts.items()
    )


def _percent(share: float) -> str:
    """A share in percent that is neither 0 nor 100 where the share is not 0 or 1."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "under 0.1 %"
    return "over 99.9 %" if 99.9 < percent < 100 else f"{percent:.3g} %"
