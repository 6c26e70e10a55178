"""The actor that holds the model, as a class for `Dataset.map_batches`."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from i2r import Degraded
from pipeline.codecs.depth import from_float, to_float
from pipeline.errors import (
    DeviceLostError,
    ErrorCode,
    ItemError,
    RunError,
    SettingsError,
    bounded_text,
)
from pipeline.records.findings import COLUMN, to_column
from pipeline.records.manifest import finite
from pipeline.stages.local_prior import local_prior
from pipeline.stages.machine import assigned, memory_bytes

if TYPE_CHECKING:
    from i2r import Restoration, RestoreSettings

_CPU = "cpu"
_DEVICE_ERROR = re.compile(r"(CUDA|HIP)( driver)? error|cuDNN error|CUBLAS_STATUS", re.IGNORECASE)
"""In the texts of torch's errors of a GPU. After one, every later call in the same process fails, too."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

PIXELS_TOGETHER = 16 << 20
"""Most pixels of the images restored at once, enough to fill any batch of tiles. They take 1.3 GB for noisy
images, 1.5 GB for JPEG files and 1.9 GB for blurred images."""

LEAST_BYTES = 20
"""Lower bound of the memory per value of an image while it is restored: a noisy image takes 25 bytes."""


@dataclass(frozen=True)
class PriorIdentity:
    """Name of a prior and digest of its files, as rows record them."""

    name: str
    sha256: str


class ImageRestorer(Protocol):
    """Restores images: `i2r.Restorer`, or a stand-in for it."""

    @property
    def device(self) -> str:
        """Device and precision that it computes with, for the manifest, such as `cpu/float32`."""
        ...

    def restore(self, degraded: Sequence[Degraded]) -> list[Restoration]:
        """Restore images of float32; a result does not depend on the other images in the list."""
        ...

    def smaller(self) -> tuple[str, ImageRestorer] | None:
        """A restorer that needs less device memory but whose results differ in the last digits, after the
        name that a row gives it; None if there is none."""
        ...


class RestorerFactory(Protocol):
    """Makes the restorer, inside the actor. Picklable."""

    def identity(self) -> PriorIdentity:
        """The prior that it will load. Raises SettingsError if there is none or it is broken."""
        ...

    def __call__(self) -> ImageRestorer:
        """Load the prior, on the device that Ray assigned to this process."""
        ...


class PriorRestorerFactory:
    """Makes `i2r.Restorer` with a prior.

    The digest that `identity` finds is sent to the actors: an actor that loads another prior fails.

    Args:
        prior: a built-in prior's name, a local diffusers folder, an address of one, or a hub id.
        method: how images are restored.
    """

    def __init__(self, prior: str, method: RestoreSettings) -> None:
        self._prior, self._method = prior, method
        self._sha256: str | None = None

    def identity(self) -> PriorIdentity:
        """Name and digest of the prior, without loading the model. Raises SettingsError."""
        from i2r import Calibration, PriorFolder
        from i2r.errors import I2RError

        folder = PriorFolder(local_prior(self._prior))
        try:
            folder.check()
            Calibration.load(folder.path)
            self._sha256 = folder.digest()
        except (I2RError, OSError) as error:
            raise SettingsError(str(error)) from error
        return PriorIdentity(folder.name, self._sha256)

    def __call__(self) -> ImageRestorer:
        """The restorer, on the GPU that Ray assigned to this process, or on its CPUs if it was assigned none.

        Raises:
            RunError: this machine has another prior than the run began with.
            DeviceError: the GPU cannot be used.
            PriorError: the prior cannot be used.
        """
        from i2r import Device, Restorer, load_prior, self_test

        device = Device.assigned(assigned("GPU"))
        prior = load_prior(str(local_prior(self._prior)), device.where, precision=self._method.precision)
        if self._sha256 not in (None, prior.sha256):
            raise RunError(
                f"the prior {self._prior} on this machine is not the one that the run began with: "
                "give every machine the same, or an address that all of them read"
            )
        self_test(prior)
        return Restorer(prior, self._method)


class RestoreActor:
    """Restores batches of images; the model is loaded once, when the actor starts.

    Use it as `Dataset.map_batches(RestoreActor, fn_constructor_args=(factory,), num_cpus=…, concurrency=…)`.
    It reads a column `image`, (H, W, C) of uint8, uint16, or float in [0, 1], replaces the images by restored
    ones of the same shapes and types, and adds columns `status`, `error_message`, `findings` as JSON, and the
    measures.

    Args:
        factory: makes the restorer.
    """

    def __init__(self, factory: RestorerFactory) -> None:
        self._restorer = factory()
        set_threads()
        self._beside = ThreadPoolExecutor(1)
        self.device = self._restorer.device
        self._memory = memory_bytes()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Restore a batch of columns."""
        images = list(batch["image"])
        results = self.restore([Degraded(image) for image in images])
        restored, columns = np.empty(len(images), dtype=object), dict(batch)
        for number, (image, result) in enumerate(zip(images, results, strict=True)):
            restored[number] = image if isinstance(result, ItemError) else result.image
        columns["image"] = restored
        # As text: Ray cannot join blocks of which some hold no finding at all.
        described = [{**row, COLUMN: json.dumps(row[COLUMN] or [])} for row in map(describe, results)]
        for name in described[0] if described else ():
            # Floats whether or not a value is missing, or blocks of one dataset would differ in type.
            kind = float if name in MEASURES else None
            columns[name] = np.asarray([row[name] for row in described], kind)
        return columns

    def restore(self, degraded: Sequence[Degraded]) -> list[Restored | ItemError]:
        """Restore images of uint8, uint16, or float in [0, 1].

        Returns:
            for each image its result, in the image's own type, or the error that it failed with.

        Raises:
            DeviceLostError: the GPU failed: this process can restore nothing any more.
        """
        on_host = on_cpu(self.device)
        refusals = [_refusal(given.image, self._memory) if on_host else None for given in degraded]
        fitting = [given for given, refusal in zip(degraded, refusals, strict=True) if refusal is None]
        left = iter(self._converted(list(_groups(fitting))))
        return [refusal or next(left) for refusal in refusals]

    def _converted(self, groups: Sequence[Sequence[Degraded]]) -> Iterator[Restored | ItemError]:
        """Restore groups; meanwhile a thread converts the next to floats and the last back to pixels."""
        ended: list[Future[list[Restored | ItemError]]] = []
        ahead = self._beside.submit(_as_floats, groups[0])
        for group, following in zip_longest(groups, groups[1:], fillvalue=()):
            inputs = ahead.result()
            ahead = self._beside.submit(_as_floats, following)
            ended.append(self._beside.submit(_as_pixels, self._restore(inputs), group))
        return (result for future in ended for result in future.result())

    def _restore(self, inputs: Sequence[Degraded]) -> list[_Result | ItemError]:
        """Restore images at once; if that fails, each half by itself, down to the image that causes it."""
        if not inputs:
            return []
        try:
            pairs = zip(self._restorer.restore(inputs), inputs, strict=True)
            return [_of_its_shape(restoration, given) for restoration, given in pairs]
        except Exception as error:
            failure = _item_error(error)
        if failure.code is ErrorCode.OUT_OF_MEMORY:
            _release_memory()  # outside the handler, whose traceback keeps references to the memory
        if len(inputs) == 1:
            return [self._restore_smaller(inputs[0], failure)]
        half = len(inputs) // 2
        return self._restore(inputs[:half]) + self._restore(inputs[half:])

    def _restore_smaller(self, given: Degraded, failure: ItemError) -> _Result | ItemError:
        """Restore one image with smaller and smaller restorers, as long as it runs out of memory.

        The next image starts with the full restorer again, so that its result does not depend on this one.
        """
        restorer = self._restorer
        while failure.code is ErrorCode.OUT_OF_MEMORY and (step := restorer.smaller()) is not None:
            name, restorer = step
            try:
                (restoration,) = restorer.restore([given])
                return _of_its_shape(restoration, given, name)
            except Exception as error:
                failure = _item_error(error)
            _release_memory()
        return failure


@dataclass(frozen=True)
class Restored:
    """A restored image in its source's type, the method's result, and names of smaller restorers used."""

    image: np.ndarray
    restoration: Restoration
    fallbacks: tuple[str, ...] = ()


def describe(result: Restored | ItemError) -> Mapping[str, Any]:
    """Status, error and measures of one image, as columns of the manifest."""
    if isinstance(result, ItemError):
        return {
            "status": "failed",
            "error_code": result.code.value,
            "error_message": result.message,
        } | dict.fromkeys((*MEASURES, COLUMN))
    restoration = result.restoration
    failed = restoration.outcome == "failed"
    return (
        {
            "status": str(restoration.outcome),
            "error_code": ErrorCode.NUMERICAL.value if failed else None,
            "error_message": bounded_text(restoration.message) or None,
        }
        | finite({name: getattr(restoration, name) for name in MEASURES})
        | {COLUMN: None if failed else to_column(restoration.findings)}
    )


_Result: TypeAlias = "tuple[Restoration, tuple[str, ...]]"


def _of_its_shape(restoration: Restoration, given: Degraded, *fallbacks: str) -> _Result | ItemError:
    """A result, or the error that it has not its image's shape: it would be stored in the image's place."""
    if restoration.image.shape == given.image.shape:
        return restoration, fallbacks
    made, wanted = ("x".join(map(str, image.shape)) for image in (restoration.image, given.image))
    return ItemError(ErrorCode.INTERNAL, f"the model made {made} values of an image of {wanted}")


def _groups(inputs: Sequence[Degraded]) -> Iterator[Sequence[Degraded]]:
    """Split images in order into groups of at most `PIXELS_TOGETHER`; an image alone may be larger."""
    start, pixels = 0, 0
    for index, given in enumerate(inputs):
        more = given.image.shape[0] * given.image.shape[1]
        if start < index and pixels + more > PIXELS_TOGETHER:
            yield inputs[start:index]
            start, pixels = index, 0
        pixels += more
    yield inputs[start:]


def _as_floats(group: Sequence[Degraded]) -> list[Degraded]:
    return [replace(given, image=to_float(given.image)) for given in group]


def _as_pixels(
    results: Sequence[_Result | ItemError], group: Sequence[Degraded]
) -> list[Restored | ItemError]:
    """Convert results to the types of their source images."""
    return [
        result
        if isinstance(result, ItemError)
        else Restored(from_float(result[0].image, given.image.dtype), *result)
        for result, given in zip(results, group, strict=True)
    ]


MEASURES = (
    "nfe",
    "inversion_psnr",
    "rectified_fraction",
    "typicality_before",
    "typicality_after",
    "consistency_psnr",
)
"""Columns that the method measures on every image."""


def _refusal(image: np.ndarray, memory: int) -> ItemError | None:
    """The error of an image that cannot be restored in `memory` bytes, whatever its degradation, or None.

    Trying it would kill the process. An image that passes may still need more, to undo a blur: whether it is
    blurred is not known yet.
    """
    if LEAST_BYTES * image.size <= memory:
        return None
    height, width = image.shape[:2]
    is_gray = bool((image == image[..., :1]).all())  # if all channels are equal, only one is restored
    needed = LEAST_BYTES * (height * width if is_gray else image.size)
    if needed <= memory:
        return None
    return ItemError(
        ErrorCode.TOO_LARGE,
        f"{width}x{height} takes {needed / 2**30:.1f} GiB of memory at least, and this machine has "
        f"{memory / 2**30:.1f}: give it more, or cut the image",
    )


def set_threads() -> None:
    """Let torch use a thread for each CPU that this actor requested, or for a part of one."""
    torch = sys.modules.get("torch")  # not imported here: that takes seconds, and a restorer may do without
    if torch is not None and (cpus := assigned("CPU")):
        torch.set_num_threads(math.ceil(cpus))


def on_cpu(device: str) -> bool:
    """Whether a device, in the form that rows record, is a CPU."""
    return device.partition("/")[0] == _CPU


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def _release_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _item_error(error: Exception) -> ItemError:
    if isinstance(error, ItemError):
        return error
    if isinstance(error, RunError):
        raise error
    if _is_out_of_memory(error):
        return ItemError(
            ErrorCode.OUT_OF_MEMORY, "the model has no memory left for this image: use a larger device"
        )
    if isinstance(error, RuntimeError) and _DEVICE_ERROR.search(str(error)):
        raise DeviceLostError(f"the GPU failed: {bounded_text(str(error).splitlines()[0])}") from error
    code = ErrorCode.NUMERICAL if isinstance(error, ArithmeticError) else ErrorCode.INTERNAL
    return ItemError(code, f"{type(error).__name__}: {error}")
