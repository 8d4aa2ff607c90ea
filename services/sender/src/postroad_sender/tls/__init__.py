"""What TLS a message requires, what a domain promises (DANE, MTA-STS), and the plan for a host."""
