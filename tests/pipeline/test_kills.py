"""One kill of each kind on a cluster of three nodes; `make soak` does many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kills import ThreeNodes, Victim, kill_and_rerun, three_nodes


@pytest.fixture(scope="module")
def nodes() -> Iterator[ThreeNodes]:
    with three_nodes() as nodes:
        yield nodes


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", Victim)
def test_a_killed_part_costs_only_what_was_in_flight(nodes: ThreeNodes, victim: Victim) -> None:
    outcome = kill_and_rerun(nodes, victim, seed=1)
    assert outcome.after < 300
