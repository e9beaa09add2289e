"""Small helpers of the chapters: feedback, questions, tables, the device, the closing line."""

from ._pages import (
    closing_line,
    data_key,
    device,
    feedback,
    lock_hash,
    on_colab,
    output_table,
    quiz,
    start_clock,
)

__all__ = [
    "closing_line",
    "data_key",
    "device",
    "feedback",
    "lock_hash",
    "on_colab",
    "output_table",
    "quiz",
    "start_clock",
]
