"""The command line of experiments: the plan, and options that cannot be."""

import pytest

from tests.runs import python


def test_a_dry_run_prints_the_plan_and_makes_nothing(tmp_path):
    out, datasets = tmp_path / "out", tmp_path / "datasets"
    places = ("--out", str(out), "--datasets", str(datasets))
    printed = python("-m", "experiments.combine", "--dry-run", "--seeds", "2", "--kimg", "4", *places).stdout

    assert f"12 runs of 4 kimg: 6 settings with 2 seeds; {out}" in printed
    assert "combine cat_lin, R1 3" in printed and "0 of 12 runs done" in printed
    assert not out.exists() and not datasets.exists()


@pytest.mark.parametrize("options", [("--seeds", "0"), ("--jobs", "0"), ("--threads", "0"), ("--kimg", "-1")])
def test_numbers_that_cannot_be_are_one_line(options):
    result = python("-m", "experiments.combine", *options)
    assert result.returncode == 2 and len(result.stderr.strip().splitlines()) == 1
    assert options[0] in result.stderr
