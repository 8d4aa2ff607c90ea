"""The state in MongoDB. The only importer of its driver; dicts end here.

Every method raises `StoreAway` when the database cannot be reached or does not answer in time.
"""

from postroad_common.store.database import Database

__all__ = ["Database"]
