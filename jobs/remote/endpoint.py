"""Where the Jobs API listens on a cluster's head."""

from __future__ import annotations

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
"""Environment variable with the address, which Ray reads, too."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
