"""`python -m experiments` lists every experiment."""

import re

from tests.runs import ROOT, python


def test_all_experiments_are_listed():
    listed = re.findall(r"^python -m experiments\.(\w+)", python("-m", "experiments").stdout, flags=re.M)
    files = (ROOT / "experiments").glob("*.py")
    assert sorted(listed) == sorted(path.stem for path in files if "\n    main(" in path.read_text(encoding="utf-8"))
