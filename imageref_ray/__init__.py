"""Documents with pictures → training set → fine-tuned InternVL → metrics → endpoint."""

__version__ = "0.1.0"
