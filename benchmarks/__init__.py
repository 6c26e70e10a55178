"""What the product is worth, measured: `python -m benchmarks.quality` and the other modules that are run."""
