"""The version of xpnet, read by the build and by ``xpnet.__version__``."""

__version__ = "0.1.0"
