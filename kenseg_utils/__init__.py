"""The small package beneath the book on segmenting stroke lesions in MRI with the Ken-model.

Importing it is quick and loads no deep-learning framework: import the module that you need.
Import it before Keras: it lets TensorFlow use oneDNN's kernels on every x86 processor.
"""

import os
import platform

__version__ = "0.1.0"

# By itself TensorFlow takes oneDNN's kernels only on processors with units for neural networks
# (AVX512-VNNI, say), and reads this once, when it is imported. On one with AVX2 alone, a step of
# the Ken-model takes 2.4 times as long without them (benchmarks/results/train_kernels.json).
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

del os, platform
