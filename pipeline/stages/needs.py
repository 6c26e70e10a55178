"""What the processes of a run request from Ray, and the memory that they take.

Every process requests some CPU, so that none is placed on a node without CPUs, such as a head that only
drives. The stages beside the model request next to nothing, since they mostly wait, and a model a little less
than a CPU for each of its threads: so every node has room for the other stages beside as many models as it
has CPUs, also if it has only one. If models took all CPUs of every node, the run would wait for ever.
"""

from __future__ import annotations

from pipeline.settings import RunSettings
from pipeline.stages.restoring import LEAST_BYTES

STAGE_CPUS = 0.0002
"""CPUs that a process of a stage other than the model requests; Ray counts in ten thousandths."""
LEFT_CPUS = 0.01
"""CPUs that each model leaves to the other stages: room for fifty processes."""

IDLE_BYTES = 700 << 20
"""Memory of a decoder, its child and an encoder that have no image."""
COPIES = 5
"""Of an image's pixels, at most, in a decoder and an encoder: decoded, scored, put into a block, taken out,
and encoded."""
DECODING = 3
"""The same in the decoder's child: the decoder's own frame, Pillow's and ours."""
MODEL_BYTES = 256 << 20
"""Memory of a model that has no image, at least."""


def serving_bytes(pixels: int, settings: RunSettings) -> int:
    """Memory that a decoder and an encoder take together, for an image of so many bytes of pixels."""
    return IDLE_BYTES + COPIES * pixels + min(DECODING * pixels, settings.decode_memory_mib << 20)


def model_bytes(pixels: int) -> int:
    """Memory that a model on CPUs takes at least, for an image of so many bytes of pixels."""
    return MODEL_BYTES + LEAST_BYTES * pixels
