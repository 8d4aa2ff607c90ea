"""`python -m postroad_transformer`."""

from postroad_transformer.main import main

main()
