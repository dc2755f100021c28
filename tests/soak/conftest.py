"""The length and the seed of the soak tests."""

from __future__ import annotations

import os

SEED = int(os.environ.get("SOAK_SEED", "1"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
MUTATIONS = int(os.environ.get("SOAK_MUTATIONS", "20000"))

SETTINGS = f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:g} SOAK_MUTATIONS={MUTATIONS}"


def pytest_report_header() -> str:
    return f"soak: {SETTINGS}"
