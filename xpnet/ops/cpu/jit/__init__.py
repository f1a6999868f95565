"""A plain function becomes machine code, which is kept on disk."""

__all__: list[str] = []
