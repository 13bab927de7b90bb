from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# FUZZ=100000 ./scripts/test tests/fuzz: as many examples for each reader, for a night; without it, enough for every run
settings.register_profile(
    "fuzz", max_examples=int(os.environ.get("FUZZ", "300")), deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
