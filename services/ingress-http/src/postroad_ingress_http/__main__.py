"""`python -m postroad_ingress_http`."""

import postroad_common.lean  # noqa: F401 - before any other import
from postroad_ingress_http.main import main

main()
