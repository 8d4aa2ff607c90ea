"""`python -m postroad_tracker`."""

from postroad_tracker.main import main

main()
