from __future__ import annotations

from relays import demo, program  # noqa: F401 - fixtures
