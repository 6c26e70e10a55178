"""What a node's rows come to: recorded, held back, or dropped because it is out."""

from __future__ import annotations

import itertools

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OF_THE_WORLD, ErrorCode
from pipeline.runs.breaker import Breaker
from pipeline.stages.batches import ROWS

FORBIDDEN, LOST, TRUNCATED = ErrorCode.FORBIDDEN, ErrorCode.WORKER_DIED, ErrorCode.TRUNCATED
NUMBERS = itertools.count()


def row(code: ErrorCode | None = None, place: str = "node/fetch", *before: str) -> dict[str, object]:
    return {
        "source_key": str(next(NUMBERS)),
        "status": "failed" if code else "restored",
        "error_code": code,
        "error_message": "denied",
        "node": f"host-{place.partition('/')[0]}",
        "places": [*before, place],
    }


def sifted(breaker: Breaker, *rows: dict[str, object]) -> list[str]:
    table = pa.Table.from_pylist(list(rows), schema=ROWS)
    return [key for part in breaker.sift(table) for key in part["source_key"].to_pylist()]


def keys(*rows: dict[str, object]) -> list[object]:
    return [row["source_key"] for row in rows]


def test_an_error_is_recorded_once_its_process_has_done_well_again() -> None:
    breaker = Breaker(3)
    denied, good = row(FORBIDDEN), row(None, "node/store", "node/fetch", "node/restore")
    assert sifted(breaker, denied) == []
    assert sifted(breaker, row(None, "other/store")) != []
    assert sifted(breaker, good) == keys(denied, good)
    assert sifted(breaker, *(row(FORBIDDEN) for _ in range(2))) == []
    assert sifted(breaker, broken := row(TRUNCATED)) != keys(broken)
    assert breaker.out == {}


def test_what_is_held_back_is_recorded_at_the_end_of_a_pass() -> None:
    breaker = Breaker(3)
    denied = [row(FORBIDDEN), row(FORBIDDEN)]
    assert sifted(breaker, *denied) == []
    released = [key for part in breaker.release() for key in part["source_key"].to_pylist()]
    assert released == keys(*denied)
    assert list(breaker.release()) == []


def test_too_many_in_a_row_put_a_node_out_and_are_no_rows() -> None:
    breaker = Breaker(3)
    assert sifted(breaker, row(FORBIDDEN, "sick/fetch"), row(FORBIDDEN, "sick/other")) == []
    good = row(None, "well/store", "well/fetch")
    assert sifted(breaker, *(row(FORBIDDEN, "sick/fetch") for _ in range(5)), good) == keys(good)
    assert list(breaker.release()) == []
    assert list(breaker.out) == ["sick"]
    assert breaker.reason == (
        "3 errors in a row on node host-sick, the last (forbidden): denied: "
        "renew the credentials, or give them the right"
    )


def test_processes_that_are_lost_count_by_the_batch() -> None:
    breaker = Breaker(20)
    for _ in range(2):
        assert sifted(breaker, *(row(LOST, "sick/restore", "node/fetch") for _ in range(32))) == []
    assert breaker.out == {}
    assert sifted(breaker, row(LOST, "sick/restore", "node/fetch")) == []
    assert list(breaker.out) == ["sick"]
    assert breaker.reason.startswith("processes lost in a row on node host-sick, the last (worker_died): ")


def test_the_run_stops_when_the_next_node_fares_no_better() -> None:
    def fail(breaker: Breaker, node: str) -> None:
        sifted(breaker, *(row(FORBIDDEN, f"{node}/fetch") for _ in range(3)))

    in_vain, in_turn = Breaker(3), Breaker(3)
    for node in "ab":
        fail(in_vain, node)
        sifted(in_vain, row(TRUNCATED, "c/fetch"))
        fail(in_turn, node)
        sifted(in_turn, row(None, "c/store", "c/fetch"))
    assert (in_vain.stops_the_run, in_turn.stops_the_run) == (True, False)
    assert list(in_turn.out) == ["a", "b"]


@given(
    st.lists(st.tuples(st.sampled_from([None, *ErrorCode]), st.sampled_from("ab"), st.sampled_from("xy"))),
    st.integers(1, 5),
)
def test_no_row_is_lost_but_of_processes_that_died_and_nodes_that_are_out(
    events: list[tuple[ErrorCode | None, str, str]], most: int
) -> None:
    breaker = Breaker(most)
    rows = [row(code, f"{node}/{process}") for code, node, process in events]
    recorded = [key for one in rows for key in sifted(breaker, one)]
    recorded += [key for part in breaker.release() for key in part["source_key"].to_pylist()]
    assert len(set(recorded)) == len(recorded)
    left = [one for one in rows if one["source_key"] not in recorded]
    for one in left:
        assert one["error_code"] in OF_THE_WORLD
        assert one["error_code"] == LOST or str(one["places"][0])[0] in breaker.out  # type: ignore[index]
    assert not {one["source_key"] for one in rows if one["status"] == "restored"} - set(recorded)
