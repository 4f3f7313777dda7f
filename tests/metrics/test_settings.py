import pytest

from metrics.settings import Settings


@pytest.mark.parametrize(
    "options, message",
    [
        ({"seed": -1}, "--seed -1: expected >= 0"),
        ({"repeats": 0}, "--repeats 0: expected >= 1"),
        ({"batch": 0}, "--batch 0: expected >= 1"),
        ({"trunc": 11.0}, "--trunc 11.0: expected -10 to 10"),
        ({"trunc": float("nan")}, "--trunc nan: expected -10 to 10"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)
