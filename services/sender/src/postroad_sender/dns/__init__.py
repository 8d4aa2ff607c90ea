"""What DNS says: the hosts of a domain, the addresses of a host, the site they make up."""
