"""Rewrites accepted mail: CSS, links, opens, envelope, signature."""
