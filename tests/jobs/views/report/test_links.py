"""Addresses that lead from a page to files."""

from __future__ import annotations

import pytest

from jobs.views.report.links import is_shown, origin, relative

PAGE = "s3://b/out/_i2r/report/r"


@pytest.mark.parametrize(
    ("page", "folder", "link"),
    [
        (PAGE, "s3://b/out", "../../../"),
        (PAGE, "s3://b/my scans", "../../../../my%20scans/"),
        (PAGE, "s3://other/out", None),
        (PAGE, "file:///out", None),
        ("file:///a/page", "file:///a/page/in", "in/"),
        ("/a/page", "file:///", "../../"),
        (PAGE, "https://host/in/", "https://host/in/"),
    ],
)
def test_a_folder_is_reached_within_one_store_and_on_the_web(
    page: str, folder: str, link: str | None
) -> None:
    assert relative(page, folder) == link


def test_only_a_plain_host_is_let_into_a_policy() -> None:
    assert origin("https://host.org:8080/a b.jpg") == "https://host.org:8080"
    assert origin("https://host; script-src */a.jpg") is None
    assert origin("file:///a.jpg") is None


def test_a_browser_shows_no_tiff() -> None:
    assert is_shown("A.JPG")
    assert not is_shown("a.tif")
