"""Settings of a run: one validated model, read from a YAML file, the environment and flags.

The environment overrides the file, and flags override both. Nested settings are written with a dot in flags
(`method.steps=20`), as nested maps in YAML, and with two underscores in the environment
(`I2R_METHOD__STEPS=20`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from i2r import RestoreSettings
from i2r.settings import METHOD_VERSION
from pipeline.errors import SettingsError

ENVIRONMENT_PREFIX = "I2R_"
NO_SETTINGS = {"I2R_JOB", "I2R_SUBMISSION"}
"""Variables with that prefix that are no settings but identify a process: see `pipeline.records.lease`."""


def _read_share(value: Any) -> Any:
    """Read `5%` as 0.05; any other value is left to the model."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return value
    return float(value.strip().removesuffix("%")) / 100


Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_read_share)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class Only(StrEnum):
    """Inputs that a run is restricted to."""

    NEW = "new"
    CHANGED = "changed"
    FAILED = "failed"


class RunSettings(BaseModel):
    """All settings of one run over a dataset.

    Only `prior`, `method`, `format` and `threads` change the bytes of every output, so only they are in the
    digest, with the method's version. `protect` changes only outputs whose source has a mask; the mask is
    part of that source's version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior: str = Field("photo-64", description="built-in prior, folder or address of one, or a hub id")
    method: RestoreSettings = Field(default_factory=RestoreSettings, description="how an image is restored")
    format: str | None = Field(None, description="file format of the outputs; by default each input's own")
    threads: Count = Field(1, description="CPU threads of one model")

    include: tuple[str, ...] = Field(
        (), description="only inputs whose key matches, whatever their extension"
    )
    exclude: tuple[str, ...] = Field((), description="leave out inputs whose key matches")
    only: Only | None = Field(None, description="only new, changed or failed inputs")
    retry_failed: bool = Field(
        False,
        description="try again what an earlier run recorded as failed and may get better, beside the inputs "
        "that `only` selects",
    )
    limit: Count | None = Field(None, description="handle at most this many inputs")
    check_outputs: bool = Field(
        True,
        description="restore again what is missing at the destination, or has another size than was recorded",
    )
    sample: Share | None = Field(None, description="share of the inputs, 5% or 0.05, always the same ones")
    max_redo: Share = Field(
        0.05,
        description="share of the finished images, 5% or 0.05, that a run restores again for other settings, "
        "weights or another version of the method; above it, it asks on a terminal and refuses elsewhere",
    )

    copy_failed: bool = Field(
        False, description="copy images that fail to DEST as they are, where no earlier result of theirs is"
    )
    prune: bool = Field(False, description="remove restored images whose source was deleted")
    max_pruned: Share = Field(
        0.05,
        description="share of the restored images, 5% or 0.05, that `prune` removes; above it, as where half "
        "of the source is not mounted, a run asks on a terminal and refuses elsewhere",
    )

    private_addresses: bool = Field(
        False,
        description="let sources, and the lists in them, reach this machine and private networks by HTTP",
    )

    reference: str | None = Field(None, description="better versions, paired by key, to measure against")

    protect: str | None = Field(
        None, description="masks, paired by key: what is white in them stays as it is"
    )

    workers: Count | None = Field(
        None, description="models at work at once; by default as many as the CPUs and the memory allow"
    )
    gpus: Count | None = Field(
        None, description="do not start without this many GPUs; by default take what is there"
    )
    models_per_gpu: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="models that share a GPU: more than one keep it busy where the prior is small"
    )
    gpu_minutes: Annotated[float, Field(ge=0)] = Field(
        0.0, description="minutes to wait for a cluster that grows until it has the GPUs"
    )
    batch: Count | None = Field(
        None, description="most images handed to a model at once; by default 32 on a GPU, 8 without"
    )
    max_pixels: Count = Field(200_000_000, description="pixels above which an image is refused")
    decode_seconds: Seconds = Field(60.0, description="time after which decoding an image is given up")
    decode_memory_mib: Count = Field(4096, description="memory that decoding an image may take")
    flush_rows: Count = Field(512, description="rows after which the manifest is written")
    flush_seconds: Seconds = Field(2.0, description="seconds after which the manifest is written")
    lease_seconds: Seconds = Field(
        60.0, description="seconds without a sign of life after which a run counts as dead"
    )
    max_hours: Seconds | None = Field(
        None, description="stop after this many hours; the same command goes on later"
    )
    max_errors_in_a_row: Count = Field(
        20,
        description="errors in a row that no image is to blame for, such as of storage, after which a node "
        "gets no more images; if the next node has as many, the run stops",
    )
    max_lost_share: Share = Field(
        0.5, description="share of inputs whose processes died, above which the run stops"
    )

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        if value is None:
            return None
        # Codecs are slow to load, and the command line reads this model for its help.
        from pipeline.codecs.codec import SUPPORTED_EXTENSIONS

        known = sorted(set(SUPPORTED_EXTENSIONS.values()))
        wanted = {"JPG": "JPEG", "TIF": "TIFF"}.get(value.upper(), value.upper())
        if wanted not in known:
            raise ValueError(f"no format {value!r}: choose one of {', '.join(known)}")
        return wanted

    def decisive(self, prior_sha256: str) -> dict[str, Any]:
        """Exactly what decides an output's bytes beside its source."""
        return {
            "method_version": METHOD_VERSION,
            "prior_sha256": prior_sha256,
            **self.model_dump(mode="json", include={"method", "format", "threads"}),
        }

    def digest(self, prior_sha256: str) -> str:
        """SHA-256 of exactly what decides an output's bytes beside its source."""
        content = json.dumps(self.decisive(prior_sha256), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> RunSettings:
    """Read settings from a YAML file, the environment and flags; later ones override earlier ones.

    Args:
        file: a YAML map, or None.
        environment: variables; those that begin with `I2R_` are settings, except `NO_SETTINGS`.
        flags: dotted names to values (`method.steps` to `20`).

    Raises:
        SettingsError: a setting is wrong; one line names it, and for an unknown name the nearest known one.
    """
    merged = _read_yaml(file) if file else {}
    for name, text in (environment or {}).items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NO_SETTINGS:
            path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _put(merged, path, parse_value(".".join(path), text), name)
    for name, value in (flags or {}).items():
        _put(merged, name.split("."), value, name)
    try:
        return RunSettings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def recorded_settings(text: str) -> RunSettings:
    """The settings of an earlier run, from the JSON of its record.

    Raises:
        SettingsError: another version made it, whose settings this one does not have.
    """
    try:
        return RunSettings.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(
            f"the run was made by another version of this program ({_explain(error)}): "
            "restore its images again with `i2r restore`"
        ) from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the settings file {file} is not YAML: {' '.join(str(error).split())}"
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"the settings file {file} must be a map of names to values")
    return content


def parse_value(name: str, text: str) -> Any:
    """Read the value of a setting as YAML; what is no YAML, or a setting of text would lose, stays text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    field = dict(settings_fields()).get(name)
    is_text = field is not None and field.annotation in (str, str | None)
    return text if is_text and not isinstance(value, str | None) else value


def _put(settings: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    for part in path[:-1]:
        settings = settings.setdefault(part, {})
        if not isinstance(settings, dict):
            raise SettingsError(f"{name}: {part} is a single value and has no settings in it")
    settings[path[-1]] = value


def _explain(error: ValidationError) -> str:
    """Describe the first wrong setting in one line."""
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {name!r}: did you mean {_nearest(name)!r}?"
    reason = problem["msg"].removeprefix("Value error, ")
    return f"setting {name!r}: {reason[:1].lower()}{reason[1:]}"


def _nearest(name: str) -> str:
    return difflib.get_close_matches(name, dict(settings_fields()), n=1, cutoff=0.0)[0]


def changed_settings(settings: RunSettings) -> dict[str, Any]:
    """Dotted names and values of settings that differ from their default, as flags for `load_settings`."""
    default, changed = RunSettings().model_dump(mode="json"), settings.model_dump(mode="json")
    return dict(_differences(default, changed, ""))


def _differences(
    default: Mapping[str, Any], changed: Mapping[str, Any], prefix: str
) -> Iterable[tuple[str, Any]]:
    for name, value in changed.items():
        if isinstance(value, dict):
            yield from _differences(default[name], value, f"{prefix}{name}.")
        elif value != default[name]:
            yield f"{prefix}{name}", value


def settings_fields(
    model: type[BaseModel] = RunSettings, prefix: str = ""
) -> Iterable[tuple[str, FieldInfo]]:
    """All settings, and the groups that contain them, by dotted name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_fields(field.annotation, f"{prefix}{name}.")
        yield f"{prefix}{name}", field
