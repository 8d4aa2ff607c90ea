"""Where a domain's mail goes, and the opening of a session there."""
