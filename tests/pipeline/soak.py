"""Kills and game days on a cluster of three nodes, one after the other; results lie beside the benchmarks.

    python tests/pipeline/soak.py --kills 30 --seeds 3 --out benchmarks/soak

Every result is written down at once; `--resume` goes on after them, and `--only` picks game days by name, or
the `kills`. It mounts small file systems, which takes root, and turns a clock with Debian's `libfaketime`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODULES = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join(MODULES)  # the nodes find the stand-in there
sys.path[:0] = MODULES

import game_days  # noqa: E402 - its path is set
import kills  # noqa: E402
from playground import IMAGES, s3_server  # noqa: E402

KILLS = "kills"


def main() -> None:
    """Play until all is played, or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="kills in all")
    parser.add_argument("--seeds", type=int, default=3, help="times that each game day is played")
    parser.add_argument("--only", nargs="+", choices=[KILLS, *game_days.DAYS], help="only these")
    parser.add_argument("--scale", type=float, default=1.0, help="of the durations of leases and denials")
    parser.add_argument("--minutes", type=float, default=600, help="begin nothing later")
    parser.add_argument("--out", type=Path, required=True, help="results go to OUT.json and OUT.md")
    parser.add_argument("--resume", action="store_true", help="go on after what OUT.json holds")
    arguments = parser.parse_args()
    start, file = time.monotonic(), arguments.out.with_suffix(".json")
    results: dict[str, list[dict[str, Any]]] = {KILLS: [], "game_days": []}
    if arguments.resume and file.exists():
        results |= json.loads(file.read_text())
    with s3_server() as endpoint, kills.three_nodes() as nodes:
        for kind, outcome in played(arguments, results, nodes, endpoint):
            print(outcome, flush=True)
            results[kind].append(outcome)
            file.write_text(json.dumps(results, indent=1) + "\n")
            arguments.out.with_suffix(".md").write_text(as_markdown(results))
            if time.monotonic() - start > 60 * arguments.minutes:
                break


def played(
    arguments: argparse.Namespace,
    results: dict[str, list[dict[str, Any]]],
    nodes: kills.ThreeNodes,
    endpoint: str,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Play what has no result yet, and yield each outcome with its kind."""
    wanted = set(arguments.only or [KILLS, *game_days.DAYS])
    for number in range(len(results[KILLS]), arguments.kills if KILLS in wanted else 0):
        victim = list(kills.Victim)[number % len(kills.Victim)]
        yield KILLS, asdict(kills.kill_and_rerun(nodes, victim, seed=100 + number))
    done = {(outcome["day"], outcome["seed"]) for outcome in results["game_days"]}
    for seed in range(1, arguments.seeds + 1):
        for name in game_days.DAYS:
            if name in wanted and (name, seed) not in done:
                yield "game_days", asdict(game_days.play(name, seed, nodes, endpoint, arguments.scale))


def as_markdown(results: dict[str, list[dict[str, Any]]]) -> str:
    """What came of all kills and game days."""
    return "\n".join(["# Soak", "", *_of_kills(results[KILLS]), "", *_of_game_days(results["game_days"]), ""])


def _of_kills(outcomes: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        f"`make soak`, 2 vCPU x86_64: {len(outcomes)} kills at random moments of runs over {kills.IMAGES}",
        "small images with a stand-in for the model, on a Ray cluster of three nodes on one machine. After",
        "each, the rerun finished, every input had exactly one newest row, every object its hash, and no",
        f"more was restored again than what may be in flight ({kills.IN_FLIGHT} images).",
        "",
        "| killed | times | run survived | restored again, mean | at most |",
        "|---|---|---|---|---|",
    ]
    for victim in kills.Victim:
        some = [outcome for outcome in outcomes if outcome["victim"] == victim]
        if some:
            again = [outcome["restored_again"] for outcome in some]
            survived = sum(outcome["first_status"] == 0 for outcome in some)
            lines.append(
                f"| {victim} | {len(some)} | {survived} | {sum(again) / len(again):.1f} | {max(again)} |"
            )
    return lines


def _of_game_days(outcomes: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "## Game days",
        "",
        f"Each in the middle of a run over {IMAGES} small images with the stand-in, on the same cluster;",
        "then runs until one ends well. Lost: images that are not restored in the end, or whose object is",
        "not what the source gives. Noticed: seconds until the run said so, or had ended. In vain: images",
        "given to a model that was ill. Of several seeds, the most. Scale: of a denial of 120 seconds and a",
        "lease of 60.",
        "",
        "| what goes wrong | seeds | scale | ended with | said | noticed | runs | lost | again | in vain |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    faults = []
    for name, day in game_days.DAYS.items():
        some = [outcome for outcome in outcomes if outcome["day"] == name]
        if not some:
            continue
        held = [outcome for outcome in some if outcome["fault"] is None]
        faults += [f"- {day.wrong}, seed {each['seed']}: {each['fault']}" for each in some if each["fault"]]
        statuses = ", ".join(sorted({str(outcome["status"]) for outcome in some}))
        said = " or ".join(sorted({outcome["said"] for outcome in some if outcome["said"]})) or "-"
        most = [
            max((outcome[column] for outcome in held), default="?")
            for column in ("noticed", "runs", "lost", "twice", "vain")
        ]
        scales = ", ".join(sorted({f"{outcome['scale']:g}" for outcome in some}))
        cells = [day.wrong, len(some), scales, statuses, said.replace("|", "\\|"), *most]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines + (["", "What did not hold:", "", *faults] if faults else [])


if __name__ == "__main__":
    main()
