"""`RestoreActor` as one stage of a Ray Data pipeline of one's own.

    python examples/own_pipeline.py photographs restored

Reads a folder of images; what comes out is a Parquet table with the restored pixels and what was measured on
them. `i2r restore` does more: it resumes, keeps formats and metadata, and survives what kills a process. This
is for those who need restored pixels in the midst of something else.
"""

from __future__ import annotations

import argparse
from collections import Counter

import pyarrow.parquet as pq
import ray

from i2r import RestoreSettings
from pipeline import PriorRestorerFactory, RestoreActor


def main() -> None:
    """Restore a folder of images into a Parquet table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", help="folder of images")
    parser.add_argument("dest", help="folder of the table")
    parser.add_argument("--prior", default="photo-64", help="built-in prior, or a local diffusers folder")
    parser.add_argument("--tile", type=int, default=384, help="longest side of what the prior sees at once")
    arguments = parser.parse_args()
    factory = PriorRestorerFactory(arguments.prior, RestoreSettings(tile=arguments.tile))

    ray.init()  # the cluster that RAY_ADDRESS names, one that runs here, or a new one
    images = ray.data.read_images(arguments.source, mode="RGB", include_paths=True)
    restored = images.map_batches(
        RestoreActor,
        fn_constructor_args=(factory,),
        batch_size=8,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    restored.write_parquet(arguments.dest)
    statuses = pq.read_table(arguments.dest, columns=["status"])["status"].to_pylist()
    print(dict(Counter(statuses)))


if __name__ == "__main__":
    main()
