"""Files that requests name by URL: fetched from public addresses, within limits of every kind."""
