"""`python -m postroad_stack.sink`."""

from postroad_stack.sink.main import main

main()
