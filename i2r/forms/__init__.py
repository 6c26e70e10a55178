"""Forms of degradation whose parameters are unknown, for the partially blind setting."""

from __future__ import annotations

from i2r.forms.chain import FORMS, Chain
from i2r.forms.convolution import GaussianBlur, MotionBlur, likelier_blur
from i2r.forms.form import Form, Operator, Record
from i2r.forms.jpeg import Jpeg
from i2r.forms.resolution import Downsampling
from i2r.forms.small_kernel import SmallKernel
from i2r.forms.values import Mask, Noise

__all__ = [
    "FORMS",
    "Chain",
    "Downsampling",
    "Form",
    "GaussianBlur",
    "Jpeg",
    "Mask",
    "MotionBlur",
    "Noise",
    "Operator",
    "Record",
    "SmallKernel",
    "likelier_blur",
]
