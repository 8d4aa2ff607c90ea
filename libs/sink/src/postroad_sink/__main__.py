"""`python -m postroad_sink`."""

from postroad_sink.main import main

main()
