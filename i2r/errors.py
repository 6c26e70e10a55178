"""What can go wrong in the method.

I2RError
├── FormError       an image does not show the form of degradation that was told
├── PriorError      a prior is missing, damaged, or of a kind that cannot be used
└── SettingsError   a setting of the method is out of its range
"""

from __future__ import annotations


class I2RError(Exception):
    """Base of every error that this package raises on purpose; its text says what to do."""


class FormError(I2RError):
    """An image does not show the form of degradation that was told."""


class PriorError(I2RError):
    """A prior is missing, damaged, or of a kind that cannot be used."""


class SettingsError(I2RError):
    """A setting of the method is out of its range."""
