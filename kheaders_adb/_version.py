"""The version: a leaf, so that nobody imports the package's face for it."""

__version__ = "0.1.0"
