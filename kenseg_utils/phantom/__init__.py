"""A phantom ATLAS release: synthetic heads with stroke lesions in the tree of ATLAS R2.0.

Everything here is synthetic; no person was scanned.
The heads derive from the MNI152 2009a template (its notice stands in the README that is written).
"""

from ._fields import spline_weights
from ._head import AFFINE, template
from ._release import VERSION, make_mask, make_release, make_subject, subject_name, write_subject

__all__ = [
    "AFFINE",
    "VERSION",
    "make_mask",
    "make_release",
    "make_subject",
    "spline_weights",
    "subject_name",
    "template",
    "write_subject",
]
