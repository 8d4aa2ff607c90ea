"""`python -m postroad_ingress_http`."""

from postroad_ingress_http.main import main

main()
