"""The sets of clean pictures: disjoint, named by a list, cut out of snapshots."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import clean_pictures
from benchmarks.clean_pictures import CHOOSE, MEASURE, build


def _listed() -> list[dict[str, str]]:
    with clean_pictures.LIST.open(newline="") as file:
        return list(csv.DictReader(file))


def test_no_picture_chooses_and_measures() -> None:
    rows = _listed()
    assert {row["role"] for row in rows} == {CHOOSE, MEASURE}
    files = {
        role: {(r["repository"], r["path"]) for r in rows if r["role"] == role} for role in (CHOOSE, MEASURE)
    }
    assert files[CHOOSE].isdisjoint(files[MEASURE])
    assert len({(row["kind"], row["id"]) for row in rows}) == len(rows)


def test_drawn_pages_of_the_roles_differ() -> None:
    chosen, measured = (
        {(page.kind, page.seed) for page in clean_pictures.clean_pictures(None, role, 3)}
        for role in (CHOOSE, MEASURE)
    )
    assert len(chosen) == len(measured) > 0
    assert chosen.isdisjoint(measured)


def test_pictures_are_cut_out_of_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3) % 251
    repository = tmp_path / "snapshots" / "someone+pictures"
    repository.mkdir(parents=True)
    Image.fromarray(levels.astype(np.uint8)).save(repository / "a.png")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(repository)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "pictures"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    listed = tmp_path / "list.csv"
    listed.write_text(
        "id,kind,repository,commit,path,crop,reduce,role,gray,note\n"
        f'a,snow,someone/pictures,{commit},a.png,"2,3,10,8",2,measure,0,\n'
        f"b,snow,someone/pictures,{commit},a.png,,1,choose,1,\n"
        f"c,snow,someone/absent,{commit},a.png,,1,choose,0,\n"
    )
    monkeypatch.setattr(clean_pictures, "LIST", listed)
    pictures = tmp_path / "pictures"
    assert len(list(build(tmp_path / "snapshots", pictures))) == 2
    [cut] = clean_pictures.clean_pictures(pictures, MEASURE, 0)
    assert (cut.kind, cut.name, cut.photograph) == ("snow", "a", True)
    halved = levels.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(cut.pixels() * 255 - halved[3:11, 2:12]).max() <= 1
    [whole] = clean_pictures.clean_pictures(pictures, CHOOSE, 0)
    assert whole.pixels().shape == (40, 60, 1)
