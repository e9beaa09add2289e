"""Is it as large as a head, and all of one? What the box around the bright part of a scan says."""

from __future__ import annotations

import numpy as np

from kenseg_utils import anatomy

from ._looks import Doubt, by

HEAD_MM = ((100, 230), (120, 290), (110, np.inf))  # least and most along x, y and z
NO_BRAIN_MM = 60  # from side to side or front to back, not even a newborn's is smaller


def of_size(image: np.ndarray, size: np.ndarray) -> list[Doubt]:
    """What the box around the head says: too small, too large, or cut by the field of view."""
    head = anatomy.head_mask(image)
    top = anatomy.filled_box(head)[2].stop
    upper = head[:, :, max(0, top - int(round(150 / size[2]))) : top]
    sides = [(part.stop - part.start) * mm for part, mm in zip(anatomy.filled_box(upper), size)]
    shares = [upper.sum(tuple(other for other in range(3) if other != a)) for a in range(2)]
    edges = (  # a side, and not which: the header may leave that open
        ("a side", shares[0], (0, -1)),
        ("the back", shares[1], (0,)),
        ("the front", shares[1], (-1,)),
        ("the top", head.sum((0, 1)), (-1,)),
    )
    cut = [
        name for name, share, ends in edges if max(share[end] for end in ends) > 0.15 * share.max()
    ]
    found = []
    if cut:
        found.append(
            Doubt(
                f"its field of view cuts the head at {', '.join(cut)}: a lesion beyond is not "
                "seen, and the head may be laid wrongly."
            )
        )
    whole = ["a side" not in cut, not {"the back", "the front"} & set(cut)]
    small = [mm < low for mm, (low, _) in zip(sides, HEAD_MM)]
    if (small[0] and whole[0]) or (small[1] and whole[1]):
        found.append(
            Doubt(
                f"what is bright in it is {by(sides)} mm large, less than an adult's head or "
                "brain.",
                bool(min(sides[:2]) < NO_BRAIN_MM),
            )
        )
    elif small[2]:
        found.append(
            Doubt(f"it shows {sides[2]:.0f} mm of a head from its top, and not all of a brain.")
        )
    if any(mm > high for mm, (_, high) in zip(sides, HEAD_MM)):
        found.append(
            Doubt(
                f"what is bright in it is {by(sides)} mm large, more than a head: another part "
                "of the body?",
                True,
            )
        )
    return found
