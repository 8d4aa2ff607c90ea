"""HTTP requests to URLs of strangers: to public addresses that were checked, and nowhere else."""
