"""The dataset's way through the method: listing, Ray Data, storage, codecs and the manifest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.errors import (
        ErrorCode,
        ItemError,
        LeaseHeldError,
        PipelineError,
        RunError,
        SettingsError,
    )
    from pipeline.records.summary import ExitStatus, Progress, RunSummary
    from pipeline.run import restore_dataset
    from pipeline.settings import RunSettings, load_settings
    from pipeline.stages.restoring import (
        ImageRestorer,
        PriorIdentity,
        PriorRestorerFactory,
        RestoreActor,
        RestorerFactory,
    )

_HOMES = {
    "ErrorCode": "errors",
    "ExitStatus": "records.summary",
    "ImageRestorer": "stages.restoring",
    "ItemError": "errors",
    "LeaseHeldError": "errors",
    "PipelineError": "errors",
    "PriorIdentity": "stages.restoring",
    "PriorRestorerFactory": "stages.restoring",
    "Progress": "records.summary",
    "RestoreActor": "stages.restoring",
    "RestorerFactory": "stages.restoring",
    "RunError": "errors",
    "RunSettings": "settings",
    "RunSummary": "records.summary",
    "SettingsError": "errors",
    "load_settings": "settings",
    "restore_dataset": "run",
}

__all__ = [
    "ErrorCode",
    "ExitStatus",
    "ImageRestorer",
    "ItemError",
    "LeaseHeldError",
    "PipelineError",
    "PriorIdentity",
    "PriorRestorerFactory",
    "Progress",
    "RestoreActor",
    "RestorerFactory",
    "RunError",
    "RunSettings",
    "RunSummary",
    "SettingsError",
    "load_settings",
    "restore_dataset",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: Ray and torch are slow to load, and few callers need both."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
