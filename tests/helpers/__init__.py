"""Tables, fakes and reference implementations that several test files share."""

import pkgutil

import pytest

# A failing assertion in a helper shows the values it compared.
pytest.register_assert_rewrite(*(f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__)))
