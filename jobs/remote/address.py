"""Where the Jobs API of a cluster's head is."""

from __future__ import annotations

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
"""Where Ray, too, looks for it."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
