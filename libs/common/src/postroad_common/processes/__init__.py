"""Work that may freeze or bloat, in processes that can be ended."""
