"""Keeps libraries from importing what no service uses; each `__main__` imports it first.

structlog takes rich where it is installed, for tracebacks that are not wanted here; the database
driver takes pyOpenSSL's parts, though it connects with Python's own `ssl`. Each is a library of
several megabytes in every process.
"""

import sys

UNUSED = ("pymongo.pyopenssl_context", "rich")

for _name in UNUSED:
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # None: as if not installed
