"""From code, enhanced status and words of a failure to its class; the rules are data."""
