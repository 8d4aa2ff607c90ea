"""The vocabulary of mail: addresses, parameters, replies, identifiers. Nothing here does I/O."""
