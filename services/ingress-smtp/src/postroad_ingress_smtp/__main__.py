"""`python -m postroad_ingress_smtp` starts the service."""

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_ingress_smtp.main import main

main()
