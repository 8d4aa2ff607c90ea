"""What the transformer asks the database, in batches and cached: keys, suppressions, images.

Mail does not wait for the database: without it, keys come from the cache however old, and only
mail that may be suppressed (`snapshot`) is held until it is back. After a failure the database is
left alone for some seconds, so that each batch does not wait for the same timeout again.
"""

PAUSE = 5.0  # seconds
QUERY_TIMEOUT = 1.5  # seconds; a healthy database answers in milliseconds

Pair = tuple[str, str]
