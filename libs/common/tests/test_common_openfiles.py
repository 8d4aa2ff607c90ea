"""Open files: the soft limit is raised as far as is needed and allowed, and never lowered."""

import resource

from postroad_common.openfiles import OTHERS, allow_open_files


def test_limit_is_raised_as_far_as_is_needed_and_allowed_and_never_lowered():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        allow_open_files(512)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (512 + OTHERS, hard)
        allow_open_files(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (512 + OTHERS, hard)
        if hard != resource.RLIM_INFINITY:
            allow_open_files(hard + 1)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
