"""What runs it: devices and their precision, what makes them quick, and many of them at once."""

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
from ._speed import fuse_normalisation, spare_graph_optimisers

__all__ = [
    "PRECISIONS",
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
    "share_statistics",
    "spare_graph_optimisers",
    "spread_over",
    "trainings_at_once",
]
