"""Many kills, one after the other, on a cluster of three nodes; the result is kept beside the benchmarks.

    python tests/pipeline/soak.py --kills 30 --out benchmarks/soak

Every kill is written down at once; `--resume` goes on after them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
MODULES = [str(HERE), str(HERE.parent.parent)]
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join(MODULES)  # the nodes find the stand-in there
sys.path[:0] = MODULES

from kills import IMAGES, IN_FLIGHT, Outcome, Victim, kill_and_rerun, three_nodes  # noqa: E402 - its path is set


def main() -> None:
    """Kill until there are enough, or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="kills in all")
    parser.add_argument("--minutes", type=float, default=600, help="stop before a kill that begins later")
    parser.add_argument("--out", type=Path, required=True, help="results go to OUT.json and OUT.md")
    parser.add_argument("--resume", action="store_true", help="go on after the kills that OUT.json holds")
    arguments = parser.parse_args()
    start, file = time.monotonic(), arguments.out.with_suffix(".json")
    done = []
    if arguments.resume and file.exists():
        done = [Outcome(**entry) for entry in json.loads(file.read_text())]
    with three_nodes() as nodes:
        for number in range(len(done), arguments.kills):
            if time.monotonic() - start > 60 * arguments.minutes:
                break
            victim = list(Victim)[number % len(Victim)]
            done.append(kill_and_rerun(nodes, victim, seed=100 + number))
            print(done[-1], flush=True)
            file.write_text(json.dumps([asdict(outcome) for outcome in done], indent=1) + "\n")
            arguments.out.with_suffix(".md").write_text(as_markdown(done))


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """What came of all kills, by what was killed."""
    lines = [
        "# Soak",
        "",
        f"`make soak`, 2 vCPU x86_64: {len(outcomes)} kills at random moments of runs over {IMAGES} small",
        "images with a stand-in for the model, on a Ray cluster of three nodes on one machine. After each,",
        "the rerun finished, every input had exactly one newest row, every object its hash, and no more was",
        f"restored again than what may be in flight ({IN_FLIGHT} images).",
        "",
        "| killed | times | run survived | restored again, mean | at most |",
        "|---|---|---|---|---|",
    ]
    for victim in Victim:
        some = [outcome for outcome in outcomes if outcome.victim == victim]
        if some:
            again = [outcome.restored_again for outcome in some]
            survived = sum(outcome.first_status == 0 for outcome in some)
            lines.append(
                f"| {victim} | {len(some)} | {survived} | {sum(again) / len(again):.1f} | {max(again)} |"
            )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
