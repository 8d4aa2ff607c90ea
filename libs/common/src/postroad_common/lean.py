"""Keeps libraries from importing what no service uses; each `__main__` imports it first.

structlog takes rich and greenlet where they are installed, for tracebacks and contexts that are not
wanted here; the database driver takes pyOpenSSL's parts, though it connects with Python's own
`ssl`; FastAPI looks whether a model is one of pydantic's first version. Each is a library of
megabytes in every process.
"""

import sys

UNUSED = ("greenlet", "pydantic.v1", "pymongo.pyopenssl_context", "rich")

for _name in UNUSED:
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # None: as if not installed
