"""Acts on all messages that a search finds: ordered, worked off page by page, and told of."""
