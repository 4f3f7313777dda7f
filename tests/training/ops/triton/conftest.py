import pytest

pytest.importorskip("triton", reason="no Triton here; `make test` installs it on Linux")
