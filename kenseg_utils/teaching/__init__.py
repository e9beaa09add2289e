"""Small helpers of the chapters: feedback, questions, tables, the device, the closing line."""

from ._games import bet, seed_dice, settle
from ._numbers import number_quiz
from ._pages import (
    Chapter,
    closing_line,
    data_key,
    device,
    feedback,
    left_out,
    lock_hash,
    on_colab,
    open_chapter,
    output_table,
    quiz,
)
from ._play import protocol_dial

__all__ = [
    "Chapter",
    "bet",
    "closing_line",
    "data_key",
    "device",
    "feedback",
    "left_out",
    "lock_hash",
    "number_quiz",
    "on_colab",
    "open_chapter",
    "output_table",
    "protocol_dial",
    "quiz",
    "seed_dice",
    "settle",
]
