"""Invert2Restore: restore images with a pretrained diffusion model, without knowing their degradation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2r.degraded import Degraded
    from i2r.device import Device
    from i2r.errors import DeviceError, FormError, I2RError, PriorError, SettingsError
    from i2r.findings import Action, Finding, What
    from i2r.jpeg_tables import JpegTables
    from i2r.prior.folder import PriorFolder, built_in_priors, find_prior
    from i2r.prior.guided_diffusion import Unsaid, convert_checkpoint
    from i2r.prior.network import Prior, load_prior
    from i2r.prior.selftest import self_test
    from i2r.restoration import Outcome, Restoration
    from i2r.restorer import Restorer
    from i2r.screening.calibration import Calibration
    from i2r.screening.statistics import STATISTICS
    from i2r.screening.trace import Look, Trace
    from i2r.settings import RestoreSettings

_HOMES = {
    "Action": "findings",
    "Calibration": "screening.calibration",
    "Degraded": "degraded",
    "Device": "device",
    "DeviceError": "errors",
    "Finding": "findings",
    "FormError": "errors",
    "I2RError": "errors",
    "JpegTables": "jpeg_tables",
    "Look": "screening.trace",
    "Outcome": "restoration",
    "Prior": "prior.network",
    "PriorError": "errors",
    "PriorFolder": "prior.folder",
    "Restoration": "restoration",
    "RestoreSettings": "settings",
    "Restorer": "restorer",
    "STATISTICS": "screening.statistics",
    "SettingsError": "errors",
    "Trace": "screening.trace",
    "Unsaid": "prior.guided_diffusion",
    "What": "findings",
    "built_in_priors": "prior.folder",
    "convert_checkpoint": "prior.guided_diffusion",
    "find_prior": "prior.folder",
    "load_prior": "prior.network",
    "self_test": "prior.selftest",
}

__all__ = [
    "STATISTICS",
    "Action",
    "Calibration",
    "Degraded",
    "Device",
    "DeviceError",
    "Finding",
    "FormError",
    "I2RError",
    "JpegTables",
    "Look",
    "Outcome",
    "Prior",
    "PriorError",
    "PriorFolder",
    "Restoration",
    "RestoreSettings",
    "Restorer",
    "SettingsError",
    "Trace",
    "Unsaid",
    "What",
    "built_in_priors",
    "convert_checkpoint",
    "find_prior",
    "load_prior",
    "self_test",
]


def __getattr__(name: str) -> Any:
    """Import a name on first access: torch takes seconds to load, and settings do not need it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
