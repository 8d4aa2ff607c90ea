"""`python -m postroad_transformer`."""

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_transformer.main import main

main()
