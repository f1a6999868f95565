"""Record the table of the installed CuPy: ``python -m helpers.strict_cupy.record`` in ``tests``."""

from helpers.strict_cupy.table import record

if __name__ == "__main__":
    record()
