"""What runs it: devices and their precision, what makes them quick, many of them at once; and what
is said on its terminal."""

from ._cluster import connect
from ._devices import (
    PRECISIONS,
    building_in,
    choose_precision,
    device,
    free_bytes,
    is_out_of_memory,
    processor,
    trainings_at_once,
)
from ._distribution import device_count, device_names, feed, share_statistics, spread_over
from ._processes import side_by_side
from ._speed import fuse_normalisation, spare_graph_optimisers
from ._terminal import Progress, readable, say, shown, so_many

__all__ = [
    "PRECISIONS",
    "Progress",
    "building_in",
    "choose_precision",
    "connect",
    "device",
    "device_count",
    "device_names",
    "feed",
    "free_bytes",
    "fuse_normalisation",
    "is_out_of_memory",
    "processor",
    "readable",
    "say",
    "share_statistics",
    "shown",
    "side_by_side",
    "so_many",
    "spare_graph_optimisers",
    "spread_over",
    "trainings_at_once",
]
