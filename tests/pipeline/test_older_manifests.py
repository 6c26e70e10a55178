"""A destination of an older version: a run goes on with it, and restores nothing again."""

from __future__ import annotations

from pathlib import Path

import pytest
from older_manifests import make_older
from small_images import write_image
from standin import BROKEN, CLEAN, DOUBTFUL
from test_run import restore, rows

from pipeline.records.verify import verify_dataset

pytestmark = pytest.mark.usefixtures("ray_here")


def test_a_destination_of_an_older_version_goes_on(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    write_image(source / "broken.png", 52, mark=BROKEN)
    write_image(source / "clean.png", 53, mark=CLEAN)
    assert restore(source, dest).findings == {"corrected": {"noise": 6}}
    make_older(dest)

    write_image(source / "doubtful.png", 54, mark=DOUBTFUL)
    (source / "album-0/0.png").unlink()
    summary = restore(source, dest, prune=True, max_pruned=1, retry_failed=True)
    assert (summary.counts["carried"], summary.counts["failed"], summary.pruned) == (6, 1, 1)
    assert summary.findings == {"suspected": {"marks": 1}}
    newest = rows(dest)
    assert newest["doubtful.png"]["status"] == "unchanged"
    assert (dest / "doubtful.png").read_bytes() == (source / "doubtful.png").read_bytes()
    [marks] = newest["doubtful.png"]["findings"]
    assert (marks["what"], marks["action"], marks["gain"]) == ("marks", "suspected", None)
    assert newest["clean.png"]["schema_version"] == 1
    assert newest["broken.png"]["findings"] is None
    assert verify_dataset(str(dest)).faults == []
