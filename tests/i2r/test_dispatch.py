"""What the method asks of a device and of the host, seen on a CPU: few operations, next to no syncs."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from dispatch import Dispatched
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from i2r import Degraded, Restorer, load_prior
from i2r.correction.toning import find_toning
from i2r.diffusion.sampling import Judged
from i2r.diffusion.tiling import TileGrid
from i2r.prior.network import Prior
from i2r.screening import overlays, regions
from i2r.screening.calibration import Calibration, Spread
from i2r.screening.overlays import OverlayFinder, OverlayNetwork
from i2r.screening.screen import screen
from i2r.screening.trace import Screening
from i2r.training.degradation import gaussian_noise

MOST_SYNCS, MOST_OPERATIONS = 30, 3000
MOST_ON_HOST = 0.05
"""Of the network's time: what numpy and Python take outside of torch's operations."""
SCALE = 4
"""What is counted depends on how many tiles and regions there are, not on their sizes: at a quarter of all
lengths an image of 2.5 megapixels is counted in a moment."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatched]:
    """Counts as on a GPU, at that scale, and without the network of overlays."""
    usual, tile = regions.REGION, overlays.OVERLAYS.tile // SCALE
    scaled = regions.RegionTuning(usual.side // SCALE, pixels_on_cpu=usual.pixels_on_gpu // SCALE**2)
    monkeypatch.setattr(regions, "REGION", scaled)
    monkeypatch.setattr(overlays, "OVERLAYS", dataclasses.replace(overlays.OVERLAYS, tile=tile))
    dispatched = Dispatched()

    network = OverlayNetwork().eval().requires_grad_(False)
    monkeypatch.setattr(network, "forward", dispatched.uncounted(network.forward))
    monkeypatch.setattr(overlays, "_network", lambda *_: network)
    with dispatched:
        yield dispatched


def _screened(image: Tensor, calibration: Calibration) -> Screening:
    process = screen(image, TileGrid.whole(*image.shape[1:]), calibration, 0.05)
    asked = next(process)
    assert isinstance(asked, Judged)
    process.send(OverlayFinder.load(asked.image.device, torch.float32).judged(asked.image))
    process.send(torch.zeros_like(image))
    with pytest.raises(StopIteration) as stop:
        process.send(torch.randn(image.shape, generator=torch.Generator().manual_seed(0)))
    return stop.value.value


@pytest.mark.parametrize("patchy", [False, True])
@pytest.mark.parametrize("shape", [(3, 1936, 1296), (1, 1600, 1600)], ids=["colour", "gray"])
def test_a_screening_is_few_operations_and_next_to_no_syncs(
    counted: Dispatched, calibration: Calibration, shape: tuple[int, int, int], patchy: bool
) -> None:
    """Regions of 1936 x 1296 pixels are of four sizes, the most that there can be."""
    channels, height, width = shape
    image = torch.zeros(channels, height // SCALE, width // SCALE)
    clean = dict(calibration.clean) | {"patchy": Spread(-99.0 if patchy else 99.0, 1.0, 0.1)}
    seen = _screened(image, dataclasses.replace(calibration, clean=clean))
    assert ("patchy" in seen.where) == patchy
    assert 0 < counted.syncs.total() <= MOST_SYNCS
    assert len(regions.regions(*image.shape[1:])) < counted.operations.total() <= MOST_OPERATIONS


def test_toning_is_looked_for_with_one_sync(counted: Dispatched) -> None:
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert find_toning(picture) is None
    assert counted.syncs == Counter({"__bool__": 1})


@pytest.mark.parametrize("channels", [1, 3])
def test_an_evaluation_waits_for_nothing(counted: Dispatched, tiny: Prior, channels: int) -> None:
    x, sigma = torch.rand(2, channels, 32, 32), torch.tensor([0.1, 0.3])
    tiny.eps(x, sigma)  # what is constant is kept
    counted.syncs.clear()
    tiny.eps(x, sigma)
    assert counted.operations
    assert not +counted.syncs


def test_the_host_has_little_to_do(monkeypatch: pytest.MonkeyPatch, photograph: np.ndarray) -> None:
    prior = load_prior("photo-64", torch.device("cpu"))
    forward = prior.network.forward

    def evaluate(*args: object, **kwargs: object) -> object:
        with record_function("network"):
            return forward(*args, **kwargs)

    monkeypatch.setattr(prior.network, "forward", evaluate)
    noisy = gaussian_noise(photograph, np.random.default_rng(0), sigma=25 / 255).clip(0, 1)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        begun = time.perf_counter()
        (result,) = Restorer(prior).restore([Degraded(noisy.astype(np.float32))])
        seconds = time.perf_counter() - begun
    events = profiled.events()
    in_torch = sum(event.time_range.elapsed_us() for event in events if event.cpu_parent is None) / 1e6
    in_network = sum(event.time_range.elapsed_us() for event in events if event.name == "network") / 1e6
    assert result.nfe > 2
    assert 0 < in_network <= in_torch <= seconds
    assert seconds - in_torch <= MOST_ON_HOST * in_network


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x[torch.tensor([0, 1])],
    ],
)
def test_each_way_to_wait_is_counted_once(wait: Callable[[Tensor], object]) -> None:
    x = torch.arange(3.0)
    with Dispatched() as dispatched:
        wait(x)
        assert dispatched.syncs.total() == 1
        with dispatched.paused():
            wait(x)
        x + x
    wait(x)
    assert dispatched.syncs.total() == 1
    assert dispatched.operations["add"] == 1
