"""python -m postroad_sender."""

from postroad_sender.main import main

main()
