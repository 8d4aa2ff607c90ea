"""What every Postroad service shares: mail vocabulary, schemas, broker, store, service skeleton."""
