"""The small package beneath the book on segmenting stroke lesions in MRI with the Ken-model.

Importing it is quick and loads no deep-learning framework: import the module that you need.
Import it before Keras: it lets TensorFlow use oneDNN's kernels on every x86 processor.
"""

import os
import platform

__version__ = "0.1.0"

# By itself TensorFlow takes oneDNN's kernels on processors with AVX512-VNNI or newer units alone,
# and looks for this once, when it is imported. Without them a training step takes two to three
# times as long on a processor with AVX2.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

del os, platform
