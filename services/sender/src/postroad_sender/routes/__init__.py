"""What operators set about ways out: routes, sources and their warm-up, providers."""
