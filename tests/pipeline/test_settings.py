"""Settings: one model from a file, the environment and flags; a digest of what changes bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.settings import METHOD_VERSION
from pipeline.errors import SettingsError
from pipeline.settings import RunSettings, changed_settings, load_settings, parse_value, recorded_settings


def test_each_place_goes_over_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("batch: 1\nworkers: 1\nthreads: 1\nmethod: {steps: 3, overlap: 8}\n")
    environment = {"I2R_WORKERS": "2", "I2R_THREADS": "2", "I2R_METHOD__STEPS": "4", "HOME": "/"}
    settings = load_settings(file, environment, {"threads": 3, "method.steps": "5"})
    assert (settings.batch, settings.workers, settings.threads) == (1, 2, 3)
    assert (settings.method.steps, settings.method.overlap) == (5, 8)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("methd", "method"), ("method.stepz", "method.steps"), ("retry-failed", "retry_failed")],
)
def test_an_unknown_setting_names_the_nearest_known_one(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown setting '{name}': did you mean '{nearest}'"):
        load_settings(flags={name: 1})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"batch": "many"}, "setting 'batch'"),
        ({"sample": 2}, "less than or equal to 1"),
        ({"format": "gif87"}, "no format 'gif87'"),
        ({"method": 3}, "setting 'method'"),
        ({"batch.size": 3}, "batch"),
        ({"max_redo": "101%"}, "max_redo"),
        ({"max_redo": "all%"}, "max_redo"),
        ({"max_redo": "nan"}, "max_redo"),
    ],
)
def test_a_wrong_value_is_one_line(flags: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags=flags)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_is_no_map_is_an_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match="settings file"):
        load_settings(file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(tmp_path / "none.yaml")


SAME = {
    "workers": 2,
    "batch": 3,
    "limit": 4,
    "include": ["*.png"],
    "retry_failed": True,
    "max_hours": 1.0,
    "sample": 0.5,
    "max_redo": 1.0,
    "max_pruned": 1.0,
    "private_addresses": True,
}
OTHER = {"format": "PNG", "threads": 2, "method": {"steps": 9}}


@given(st.sets(st.sampled_from(sorted(SAME))), st.sets(st.sampled_from(sorted(OTHER))))
def test_the_digest_covers_what_changes_bytes_and_nothing_else(same: set[str], other: set[str]) -> None:
    changed = RunSettings.model_validate({name: (SAME | OTHER)[name] for name in same | other})
    assert (changed.digest("p") == RunSettings().digest("p")) == (not other)
    assert changed.digest("p") != changed.digest("q")


def test_another_version_of_the_method_is_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = RunSettings().digest("p")
    monkeypatch.setattr("pipeline.settings.METHOD_VERSION", METHOD_VERSION + 1)
    assert RunSettings().digest("p") != now


@pytest.mark.parametrize("share", ["5%", " 5 %", "0.05", 0.05])
def test_a_share_is_a_percentage_or_a_number_wherever_it_is_written(tmp_path: Path, share: object) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"sample: {share}\n")
    assert load_settings(file).sample == 0.05
    assert load_settings(environment={"I2R_SAMPLE": str(share)}).sample == 0.05
    assert load_settings(flags={"sample": share}).sample == 0.05


def test_who_a_process_is_is_no_setting() -> None:
    environment = {"I2R_JOB": "nightly", "I2R_SUBMISSION": "nightly/1"}
    assert load_settings(environment=environment) == RunSettings()


def test_what_is_not_the_default_makes_the_same_settings_again() -> None:
    changed = {"method.steps": 7, "include": ["*.png"], "limit": 3, "format": "WEBP"}
    settings = load_settings(flags=changed)
    assert changed_settings(settings) == changed
    assert load_settings(flags=changed_settings(settings)) == settings
    assert changed_settings(RunSettings()) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [("007", "007"), ("no", "no"), ('"WEBP"', "WEBP"), ("webp", "WEBP"), ("null", None), ("1e3", "1e3")],
)
def test_text_settings_are_text_however_they_are_written(text: str, value: str | None) -> None:
    name = "format" if value in ("WEBP", None) else "reference"
    assert getattr(load_settings(None, {f"I2R_{name.upper()}": text}), name) == value
    assert getattr(load_settings(None, {}, {name: parse_value(name, text)}), name) == value


def test_settings_of_another_version_are_refused_with_what_to_do() -> None:
    recorded = json.loads(RunSettings().model_dump_json())
    assert recorded_settings(json.dumps(recorded)) == RunSettings()
    recorded["method"]["false_discovery_rate"] = 0.05
    with pytest.raises(SettingsError, match=r"another version .* restore its images again"):
        recorded_settings(json.dumps(recorded))
