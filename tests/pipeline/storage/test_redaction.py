"""No secret goes into a row, a log or an error."""

from __future__ import annotations

import pytest

from pipeline.storage.redaction import public_uri, without_secrets


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://u:p@host/a.jpg?X-Amz-Signature=abc", "https://host/a.jpg"),
        ("https://token@host/it's here.jpg?sig=abc", "https://host/it's here.jpg"),
        ("HTTP://u:p@ss@host/a.jpg#abc", "HTTP://host/a.jpg"),
        ("zip://a.png::https://token@host/a.zip?sig=abc", "zip://a.png::https://host/a.zip"),
        ("s3://bucket/what?.jpg", "s3://bucket/what?.jpg"),
        (
            "abfs://container@account.dfs.core.windows.net/a.jpg",
            "abfs://container@account.dfs.core.windows.net/a.jpg",
        ),
    ],
)
def test_a_public_address_has_no_secret_and_nothing_else_missing(text: str, clean: str) -> None:
    assert public_uri(text) == clean


def test_a_text_has_no_secrets() -> None:
    text = without_secrets(
        "GET https://u:p@host/a?sig=abc failed: X-Amz-Security-Token=xyz "
        "X-Goog-Signature=xyz AccountKey=xyz==; "
        "GET https://token@host/it's here?access_token=xyz of https://host/it's?a=xyz"
    )
    assert "abc" not in text
    assert "xyz" not in text
    assert "@" not in text
    assert "sigma=0.3" in without_secrets("sigma=0.3")
