"""`python -m postroad_feedback` starts the service."""

from postroad_feedback.main import main

main()
