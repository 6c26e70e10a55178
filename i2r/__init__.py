"""Invert2Restore: restore images with a diffusion prior, without being told what is wrong with them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2r.errors import FormError, I2RError, PriorError, SettingsError
    from i2r.jpeg_tables import JpegTables
    from i2r.prior.folder import built_in_priors
    from i2r.prior.network import Prior, load_prior
    from i2r.restorer import Outcome, Restoration, Restorer
    from i2r.settings import RestoreSettings

_HOMES = {
    "FormError": "errors",
    "I2RError": "errors",
    "JpegTables": "jpeg_tables",
    "Outcome": "restorer",
    "Prior": "prior.network",
    "PriorError": "errors",
    "Restoration": "restorer",
    "RestoreSettings": "settings",
    "Restorer": "restorer",
    "SettingsError": "errors",
    "built_in_priors": "prior.folder",
    "load_prior": "prior.network",
}

__all__ = [
    "FormError",
    "I2RError",
    "JpegTables",
    "Outcome",
    "Prior",
    "PriorError",
    "Restoration",
    "RestoreSettings",
    "Restorer",
    "SettingsError",
    "built_in_priors",
    "load_prior",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: torch takes seconds to load, and settings do not need it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
