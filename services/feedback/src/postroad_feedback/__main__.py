"""`python -m postroad_feedback` starts the service."""

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_feedback.main import main

main()
