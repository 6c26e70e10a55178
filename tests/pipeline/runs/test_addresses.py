"""Addresses as text: where they lie, and what is refused before anything is opened."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.runs.addresses import anywhere, extent_of, refuse_file_name, refuse_overlap, refuse_secrets


@pytest.mark.parametrize(
    ("source", "dest", "expected"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b", "/a/b/c", True),
        ("/a/b/c", "/a/b", True),
        ("/a/b", "/a/bc", False),
        ("/a/b", "memory://a/b", False),
        ("file:///a/b", "/a/b/c", True),
        ("/", "/a", True),
        ("/a/[1]", "/a/out", False),
        ("s3://a/b/", "s3://a/b/c", True),
        ("s3://a/b", "gs://a/b", False),
        ("s3://a/b", "s3://a/bc", False),
    ],
)
def test_overlap(source: str, dest: str, expected: bool) -> None:
    refused = pytest.raises(SettingsError, match=re.escape(f"SOURCE {source} and DEST {dest} overlap"))
    with refused if expected else nullcontext():
        refuse_overlap(source, dest)


def test_overlap_sees_through_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SettingsError, match="overlap"):
        refuse_overlap(str(tmp_path / "real"), f"file://{tmp_path}/link/x")


@pytest.mark.parametrize(
    ("source", "extent"),
    [
        ("s3://a/in", "s3://a/in"),
        ("s3://a/in/*.png", "s3://a/in"),
        ("s3://a/in/2?/x[0-9].png", "s3://a/in"),
        ("a*", "."),
        ("/*.jpg", "/"),
    ],
)
def test_a_glob_is_listed_from_the_folder_before_its_first_wildcard(source: str, extent: str) -> None:
    assert extent_of(source) == extent


@pytest.mark.parametrize(
    "value",
    [
        "s3://key:secret@bucket/in",
        "https://host/list.csv?X-Amz-Signature=secret",
        "az://box/out?sig=secret",
        ["a.png", "ftp://me:secret@host/better"],
    ],
)
def test_a_secret_is_refused_and_not_repeated(value: object) -> None:
    with pytest.raises(SettingsError, match=r"DEST holds a password, .* which they could read") as caught:
        refuse_secrets({"SOURCE": "s3://bucket/in", "DEST": value}, "they")
    assert "secret" not in str(caught.value)


def test_what_holds_no_secret_is_let_through() -> None:
    refuse_secrets({"SOURCE": "s3://bucket/in", "DEST": "/a/b", "limit": 3, "include": ["*.png"]}, "they")


def test_a_path_means_the_same_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert anywhere("photos") == str(tmp_path / "photos")
    for address in ("/a/b", "s3://a/b", "zip://x::s3://a/b.zip"):
        assert anywhere(address) == address


@pytest.mark.parametrize(
    ("dest", "exists", "refused"),
    [
        ("/a/out.png", False, True),
        ("/a/out.png", True, False),
        ("b/x.JPG", False, True),
        ("/a/v1.2", False, False),
    ],
)
def test_a_destination_is_a_folder(dest: str, exists: bool, refused: bool) -> None:
    with pytest.raises(SettingsError, match="name a folder") if refused else nullcontext():
        refuse_file_name(dest, exists=exists)
