"""python -m postroad_sender."""

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_sender.main import main

main()
