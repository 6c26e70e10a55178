"""Forms are specified by name, in an order that can be undone, without loading torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from i2r.form_names import OPERATORS, RECORDS, parse_forms
from i2r.forms import FORMS, Operator
from i2r.settings import RestoreSettings


def test_the_names_are_those_of_the_forms() -> None:
    assert tuple(FORMS) == OPERATORS + RECORDS
    assert [name for name, form in FORMS.items() if issubclass(form, Operator)] == list(OPERATORS)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("auto", ("auto",)),
        (["none"], ("none",)),
        ("gaussian_blur", ("gaussian_blur",)),
        ("gaussian-blur, downsampling ,noise,jpeg", ("gaussian_blur", "downsampling", "noise", "jpeg")),
        (("downsampling", "jpeg"), ("downsampling", "jpeg")),
    ],
)
def test_names_are_parsed(given: str | list[str], names: tuple[str, ...]) -> None:
    assert parse_forms(given) == names
    assert RestoreSettings(forms=given).forms == names  # type: ignore[arg-type]
    assert RestoreSettings(forms=names).specified == (names not in (("auto",), ("none",)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rain", "no form 'rain': give auto, none, or some of gaussian_blur"),
        ("", "no form ''"),
        ([], "nothing cannot be undone"),
        ("auto,jpeg", "no form 'auto'"),
        ("jpeg,jpeg", "jpeg is given twice"),
        ("jpeg,gaussian_blur", "cannot be undone: give gaussian_blur, motion_blur"),
    ],
)
def test_what_cannot_be_undone_is_refused(given: str | list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_forms(given)
    with pytest.raises(ValidationError, match=message):
        RestoreSettings(forms=given)  # type: ignore[arg-type]


def test_settings_come_without_torch() -> None:
    check = "import i2r.settings, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
