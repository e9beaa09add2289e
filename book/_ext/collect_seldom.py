"""Look for garbage seldom: pages are millions of small objects that are needed till the end.

Python's collector goes through all of them again and again, a seventh of the time of a build.
"""

import gc


def setup(app):
    gc.set_threshold(200_000, 50, 100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
