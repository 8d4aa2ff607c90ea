"""What the API document lists: codes of errors with their meanings, and an example of each body."""

import re
from pathlib import Path
from typing import get_args

import postroad_ingress_http
from postroad_ingress_http.api import ROUTERS
from postroad_ingress_http.api.access import BodyNeeded
from postroad_ingress_http.api.examples import EXAMPLES
from postroad_ingress_http.http.codes import MEANINGS, ErrorCode
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.templating.problems import Kind

SOURCES = Path(postroad_ingress_http.__file__).parent
CODE = re.compile(r"""\bcode="([a-z_]+)"|_unauthorized\([^)]*"([a-z_]+)"\)""")


def test_every_code_is_listed_and_explained():
    assert set(MEANINGS) == set(ErrorCode)
    found = {
        match[1] or match[2]
        for file in SOURCES.rglob("*.py")
        for match in CODE.finditer(file.read_text())
    }
    assert len(found) > 20
    assert found <= set(ErrorCode)
    assert {f"template_{kind}" for kind in get_args(Kind)} <= set(ErrorCode)


def test_every_status_has_a_code_of_its_own():
    statuses = (400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 429, 500, 503, 504)
    codes = {ApiError(status, "").code for status in statuses}
    assert len(codes) == len(statuses)
    assert "error" not in codes
    assert ApiError(418, "").code == "error"


def test_every_body_has_an_example_that_can_be_read():
    needed = {
        dependency.call.model.__name__: dependency.call.reader
        for router in ROUTERS
        for route in router.routes
        for dependency in route.dependant.dependencies
        if isinstance(dependency.call, BodyNeeded)
    }
    assert set(needed) == set(EXAMPLES)  # a new body needs one in `api.examples`
    for name, read in needed.items():
        read(dict(EXAMPLES[name]))
