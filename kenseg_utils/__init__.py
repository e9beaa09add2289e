"""The small package beneath the book on segmenting stroke lesions in MRI with the Ken-model.

Importing it is quick and loads no deep-learning framework: import the module that you need.
"""

__version__ = "0.1.0"
