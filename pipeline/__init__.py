"""Restores whole datasets: listing, Ray Data stages, storage, codecs and the manifest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.codecs.codec import Picture
    from pipeline.codecs.depth import from_float, to_float
    from pipeline.codecs.sandbox import Decoder
    from pipeline.errors import (
        ErrorCode,
        ItemError,
        LeaseHeldError,
        PipelineError,
        PruneError,
        RedoError,
        RefusedError,
        RunError,
        SettingsError,
    )
    from pipeline.records.summary import ExitStatus, Progress, RunSummary
    from pipeline.runs.run import restore_dataset
    from pipeline.settings import RunSettings, load_settings
    from pipeline.sources.fetcher import Fetcher
    from pipeline.sources.masks import protected_pixels
    from pipeline.sources.walk import open_source
    from pipeline.stages.local_prior import local_prior
    from pipeline.stages.restoring import (
        ImageRestorer,
        PriorIdentity,
        PriorRestorerFactory,
        RestoreActor,
        RestorerFactory,
        on_cpu,
    )
    from pipeline.stages.session import GPU_ADVICE, PATIENCE_TO_CONNECT

_HOMES = {
    "Decoder": "codecs.sandbox",
    "ErrorCode": "errors",
    "ExitStatus": "records.summary",
    "Fetcher": "sources.fetcher",
    "GPU_ADVICE": "stages.session",
    "ImageRestorer": "stages.restoring",
    "ItemError": "errors",
    "LeaseHeldError": "errors",
    "PATIENCE_TO_CONNECT": "stages.session",
    "Picture": "codecs.codec",
    "PipelineError": "errors",
    "PriorIdentity": "stages.restoring",
    "PriorRestorerFactory": "stages.restoring",
    "Progress": "records.summary",
    "PruneError": "errors",
    "RedoError": "errors",
    "RefusedError": "errors",
    "RestoreActor": "stages.restoring",
    "RestorerFactory": "stages.restoring",
    "RunError": "errors",
    "RunSettings": "settings",
    "RunSummary": "records.summary",
    "SettingsError": "errors",
    "from_float": "codecs.depth",
    "load_settings": "settings",
    "local_prior": "stages.local_prior",
    "on_cpu": "stages.restoring",
    "open_source": "sources.walk",
    "protected_pixels": "sources.masks",
    "restore_dataset": "runs.run",
    "to_float": "codecs.depth",
}

__all__ = [
    "GPU_ADVICE",
    "PATIENCE_TO_CONNECT",
    "Decoder",
    "ErrorCode",
    "ExitStatus",
    "Fetcher",
    "ImageRestorer",
    "ItemError",
    "LeaseHeldError",
    "Picture",
    "PipelineError",
    "PriorIdentity",
    "PriorRestorerFactory",
    "Progress",
    "PruneError",
    "RedoError",
    "RefusedError",
    "RestoreActor",
    "RestorerFactory",
    "RunError",
    "RunSettings",
    "RunSummary",
    "SettingsError",
    "from_float",
    "load_settings",
    "local_prior",
    "on_cpu",
    "open_source",
    "protected_pixels",
    "restore_dataset",
    "to_float",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: Ray and torch are slow to load, and few callers need both."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
