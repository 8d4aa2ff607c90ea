"""`python -m postroad_bounce_processor`."""

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_bounce_processor.main import main

main()
