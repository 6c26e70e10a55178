"""P-values: what several say together of an image, and which of many are atypical."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from i2r.screening.statistics import STATISTICS

Name = TypeVar("Name", bound=Hashable)


def typicality(p_values: Mapping[str, float]) -> float:
    """One value in [0, 1] for the whole image: the smallest p-value, corrected for their number."""
    return min(1.0, len(p_values) * min(p_values.values()))


def simes(p_values: Sequence[float]) -> float:
    """One p-value for the hypothesis that none of them is atypical (Simes 1986).

    A single strong one shows, and so do many weak ones, which a correction for the number alone would lose.
    """
    return min(rates(p_values))


def rates(p_values: Sequence[float]) -> list[float]:
    """The rates of false discoveries at which p-values, from the smallest on, reach their rank's share."""
    return [p * len(p_values) / rank for rank, p in enumerate(sorted(p_values), 1)]


def with_witness(name: str, p_values: Mapping[str, float]) -> float:
    """The p-value of a statistic that is seen alone, or with its witness if that was measured.

    A witness confirms at most as surely as what it confirms: alone it proves something else. The smaller of
    the two counts, and not twice it (Bonferroni): the risk is held by :mod:`i2r.screening.risk`.
    """
    own, witness = p_values[name], STATISTICS[name].witness
    if witness not in p_values:
        return own
    return min(own, combined([own, max(own, p_values[witness])]))


def combined(p_values: Sequence[float]) -> float:
    """One p-value for the hypothesis that none of some independent ones is atypical (Fisher 1925).

    The chance of a product as small: several doubts make a certainty.
    """
    product = math.prod(p_values)
    if not product:
        return 0.0
    surprise, term, total = -math.log(product), 1.0, 0.0
    for count in range(len(p_values)):
        total += term
        term *= surprise / (count + 1)
    return min(1.0, product * total)


def discoveries(p_values: Mapping[Name, float], rate: float) -> frozenset[Name]:
    """Those that are atypical, with the false discovery rate held at ``rate``.

    Benjamini and Hochberg 1995: reject the smallest p-values up to the last one below its rank's share.
    """
    ordered = sorted(p_values, key=lambda name: p_values[name])
    passed = [rank for rank, name in enumerate(ordered, 1) if p_values[name] <= rate * rank / len(ordered)]
    return frozenset(ordered[: max(passed, default=0)])
