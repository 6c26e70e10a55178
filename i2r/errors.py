"""Errors of the method.

I2RError
├── DeviceError     a GPU cannot be used
├── FormError       an image does not show the specified form of degradation
├── PriorError      a prior is missing, damaged, or of an unsupported kind
└── SettingsError   a setting of the method is out of its range
"""

from __future__ import annotations


class I2RError(Exception):
    """Base of every error that this package raises on purpose; the message says how to fix it."""


class DeviceError(I2RError):
    """A GPU cannot be used: the message names its driver, the wheel of torch, and the mend."""


class FormError(I2RError):
    """An image does not show the specified form of degradation."""


class PriorError(I2RError):
    """A prior is missing, damaged, or of an unsupported kind."""


class SettingsError(I2RError):
    """A setting of the method is out of its range."""
