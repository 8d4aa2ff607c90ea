"""The lanes: what waits for a site, who sends it, and where it waits when it cannot go."""
