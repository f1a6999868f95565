"""The command ``xpnet``, the only part of the package that turns names into objects."""

__all__: list[str] = []
