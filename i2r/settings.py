"""Settings of the method: together with the prior and the input, they determine every pixel of a result."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from i2r.form_names import AUTO, NONE, parse_forms

METHOD_VERSION = 2
"""Raised by every change of what the method makes of an image with the same prior and settings, other weights
of the networks that ship with it included. Destinations restore what an older version made again, so that a
mistake that was mended does not stay in an archive."""

SMALLEST_TILE = 32
"""Least side of a tile, in pixels."""
TILE_STEP = 8
"""The longest side of a tile, in pixels, is a multiple of this."""
BY_DEVICE: Literal["auto"] = "auto"
"""Value of a setting that is chosen to suit the device; see :mod:`i2r.device`."""
Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class RestoreSettings(BaseModel):
    """Settings of :class:`i2r.restorer.Restorer`, the same for every image and every degradation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = Field(
        BY_DEVICE, description="what the networks compute in; auto is what the device is faster in"
    )
    tile: int = Field(
        384,
        ge=SMALLEST_TILE,
        le=2048,
        multiple_of=TILE_STEP,
        description="longest side of a tile, in pixels; tiles are as large as covers an image best",
    )
    overlap: int = Field(16, ge=0, description="how far neighbouring tiles reach into each other, in pixels")
    # Larger batches fill a GPU. On a CPU they are no faster, and with several threads the position of a tile
    # in its batch changes the last bits of its result.
    tiles_per_batch: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None,
        description="tiles in one evaluation of the network; by default 1 on a CPU, on a GPU what it holds",
    )
    max_harm: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="share of clean pictures that may be altered; what is not sure enough for that is only "
        "suspected",
    )
    strategy: Literal["causes", "patches"] = Field(
        "causes",
        description="how atypical noise is rectified where no form is specified: causes corrects each by its "
        "cause, patches is the paper's own, which moves the patches of noise that are not normal",
    )
    strength: float = Field(
        1.0,
        gt=0,
        le=2,
        description="1 corrects as much as was measured, less keeps more of the input, more removes more "
        "noise and blocks",
    )
    min_consistency: float = Field(
        24.0,
        ge=0,
        description="dB of the coarse picture against the input's, below which a result is rejected",
    )
    max_doubt: float = Field(
        1.0,
        ge=0,
        description="how much a blind correction may look like one of content: 1 is what few right ones "
        "exceed; above it a result is rejected",
    )
    steps: int = Field(5, ge=2, le=100, description="DDIM steps from the entry level down to the clean image")

    forms: Annotated[tuple[str, ...], BeforeValidator(parse_forms)] = Field(
        AUTO,
        description="what is known of the degradation: forms in the order in which they happened, "
        "auto where nothing is but the tables that a JPEG file contains, or none",
    )
    factor: int | None = Field(
        None, ge=2, le=16, description="how many times smaller the image was, where downsampling is specified"
    )

    @property
    def specified(self) -> bool:
        """Whether the forms of the degradation are specified."""
        return self.forms not in (AUTO, NONE)

    @model_validator(mode="after")
    def _overlap_fits(self) -> RestoreSettings:
        if self.overlap > self.tile // 2:
            raise ValueError(
                f"overlap {self.overlap} is more than half of the tile {self.tile}: make it smaller"
            )
        return self

    @model_validator(mode="after")
    def _factor_is_of_downsampling(self) -> RestoreSettings:
        if self.factor is not None and "downsampling" not in self.forms:
            raise ValueError(f"factor {self.factor} belongs to downsampling: add downsampling to the forms")
        return self
