"""The lists of packages agree with one another."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.runs import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_lock_file_has_what_the_project_needs_in_the_tested_versions():
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", LOCK, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"]:
        needed = Requirement(text)
        assert needed.specifier.contains(locked[needed.name])

    tested = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    assert {name: version for name, version in tested.items() if name in locked and locked[name] != version} == {}


def test_each_package_of_the_lock_file_has_hashes_and_comes_from_where_pip_looks():
    for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", LOCK, flags=re.M).strip()):
        assert re.match(r"[a-z0-9-]+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+$", entry), entry
