"""The command ``xpnet``: the only place where a typed name becomes an object."""

__all__: list[str] = []
