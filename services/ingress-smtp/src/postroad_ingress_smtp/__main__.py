"""`python -m postroad_ingress_smtp` starts the service."""

from postroad_ingress_smtp.main import main

main()
