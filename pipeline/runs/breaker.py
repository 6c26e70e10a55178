"""Stops a node, and then the run, after too many errors in a row that no image is to blame for.

Failing is faster than working: a node whose GPU, disk or network is broken, or a run whose token has expired,
would go through the whole archive. So rows with such errors are held back until the process that they come
from handles another image well. If instead there are too many in a row, its node is out, and what was held
back is tried again elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import pyarrow as pa

from pipeline.errors import OF_THE_WORLD, ErrorCode
from pipeline.records.manifest import Status
from pipeline.stages.machine import node_of

DEATHS = 3
"""Processes of a node that are lost in a row, each with a batch, count as much as all errors of images."""
IN_VAIN = 2
"""Nodes that are out, with nothing restored in between, after which the run stops: it is not the nodes."""
_COLUMNS = ("status", "error_code", "places", "node", "error_message")
_MENDS = {
    ErrorCode.FORBIDDEN: "renew the credentials, or give them the right",
    ErrorCode.STORAGE: "look at the store, and at the network of that node",
    ErrorCode.OUT_OF_MEMORY: "take nodes with more memory, or fewer models for each GPU",
    ErrorCode.WORKER_DIED: "take the node out, and look at its GPU, its driver and its memory",
    ErrorCode.INTERNAL: "look at the log of that node",
}


class Breaker:
    """Judges nodes by the rows that come from them.

    Args:
        most: errors in a row that put a node out, see `RunSettings.max_errors_in_a_row`.

    Attributes:
        out: Ray's ids of the nodes that are out, in order, and why.
        suspects: Ray's ids of the nodes whose last images of a pass had such errors.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_a_row: Counter[str] = Counter()
        self._held: defaultdict[str, list[pa.Table]] = defaultdict(list)
        self._in_vain = 0
        self.out: dict[str, str] = {}
        self.suspects: frozenset[str] = frozenset()

    @property
    def reason(self) -> str:
        """Why the last node is out."""
        return next(reversed(self.out.values()), "")

    @property
    def stops_the_run(self) -> bool:
        """Whether nodes were put out in vain: others have the same errors."""
        return self._in_vain >= IN_VAIN

    def sift(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Take the rows of one batch, in the columns of `ROWS`, and yield those to record.

        An image whose process was lost gets no row: it is tried again.
        """
        failed = not OF_THE_WORLD.isdisjoint(rows["error_code"].to_pylist())
        if not (failed or self._in_a_row or self._in_vain):
            yield rows
            return
        lost: set[str] = set()
        for number, (status, code, places, node, message) in enumerate(
            zip(*(rows[name].to_pylist() for name in _COLUMNS), strict=True)
        ):
            row, where = rows.slice(number, 1), places[-1] if places else ""
            if code not in OF_THE_WORLD or status != Status.FAILED:
                if status != Status.FAILED:
                    self._in_vain = 0
                yield from self._well(places)
                yield row
                continue
            yield from self._well(places[:-1])
            if code != ErrorCode.WORKER_DIED:
                self._held[where].append(row)
                self._in_a_row[where] += 1
            elif where not in lost:
                lost.add(where)
                self._in_a_row[where] += math.ceil(self._most / DEATHS)
            if self._in_a_row[where] >= self._most and node_of(where) not in self.out:
                self._put_out(where, ErrorCode(code), node, message)
            if node_of(where) in self.out:
                self._held.pop(where, None)

    def release(self) -> Iterator[pa.Table]:
        """Yield the rows that are held back: the pass is over, and so are its processes."""
        self.suspects = frozenset(map(node_of, self._in_a_row))
        self._in_a_row.clear()
        for place in list(self._held):
            yield from self._held.pop(place)

    def _well(self, places: list[str]) -> Iterator[pa.Table]:
        """Note that processes handled an image well, and yield what was held back of theirs."""
        for place in places:
            self._in_a_row.pop(place, None)
            yield from self._held.pop(place, ())

    def _put_out(self, place: str, code: ErrorCode, node: str, message: str) -> None:
        what = "processes lost" if code is ErrorCode.WORKER_DIED else f"{self._most} errors"
        self.out[node_of(place)] = (
            f"{what} in a row on node {node}, the last ({code}): {message}: {_MENDS[code]}"
        )
        self._in_vain += 1
        for other in [other for other in self._held if node_of(other) == node_of(place)]:
            del self._held[other]
