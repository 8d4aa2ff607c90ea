"""`python -m postroad_tracker`."""

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_tracker.main import main

main()
