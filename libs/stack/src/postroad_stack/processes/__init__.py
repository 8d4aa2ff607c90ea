"""One program of the stack: what it is, how it is run and watched, and when it is ready."""
