"""`python -m postroad_bounce_processor`."""

from postroad_bounce_processor.main import main

main()
