"""Invert2Restore: restore images with a diffusion prior, without being told what is wrong with them."""

from i2r.errors import I2RError, PriorError, SettingsError
from i2r.prior import Prior, built_in_priors, load_prior
from i2r.restorer import Outcome, Restoration, Restorer
from i2r.settings import RestoreSettings

__all__ = [
    "I2RError",
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
