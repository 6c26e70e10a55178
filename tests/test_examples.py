"""The examples, run as a reader runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).parent.parent


def test_the_actor_in_a_pipeline_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).normal(128, 25, (40, 48 + number, 3))
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(tmp_path / f"photographs/{number}.png")
    command = [sys.executable, ROOT / "examples/own_pipeline.py"]
    run = subprocess.run(
        [*command, tmp_path / "photographs", tmp_path / "restored", "--tile", "64"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"},
        timeout=150,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines()[-1] == "{'restored': 3}"
    rows = pq.read_table(tmp_path / "restored").to_pylist()
    assert sorted(Path(row["path"]).name for row in rows) == ["0.png", "1.png", "2.png"]
    assert all(row["nfe"] > 0 and row["error_code"] is None for row in rows)
    assert [json.loads(row["findings"])[0]["what"] for row in rows] == ["noise"] * 3
