"""Templates and personalisation: what a mail says to each of its recipients."""
