"""The postroad command: starts, supervises and shows a whole Postroad on one machine."""
