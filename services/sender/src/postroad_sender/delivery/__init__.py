"""One message on its way: the job, the outcome of an attempt, and what follows from it."""
