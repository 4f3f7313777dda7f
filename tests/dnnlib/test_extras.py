import pytest

from dnnlib.errors import UserError
from dnnlib.extras import import_extra


def test_a_missing_package_is_named():
    assert import_extra("json.decoder", "create_x").JSONDecoder
    with pytest.raises(UserError, match=r"^create_x: needs nowhere_to_be_found: pip install nowhere_to_be_found$"):
        import_extra("nowhere_to_be_found.part", "create_x")
