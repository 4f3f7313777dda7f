import io
import subprocess
import sys

from dnnlib.rank_lines import RankLines
from tests.runs import ENV, ROOT


def test_each_line_is_marked_once_however_it_is_written():
    out = io.StringIO()
    lines = RankLines(out, "[rank 3] ")
    for text in ("a\nb", "b\n", "", "\n", "c"):
        assert lines.write(text) == len(text)
    lines.flush()
    assert out.getvalue() == "[rank 3] a\n[rank 3] bb\n[rank 3] \n[rank 3] c"


def test_processes_of_an_outer_launcher_say_who_they_are():
    code = (
        "import sys; from dnnlib import cli; from dnnlib.errors import UserError; from dnnlib.launch import launch\n"
        "def work(name): print('hello'); raise UserError(name)\n"
        "cli.run(lambda: launch(work, 'wrong', 2))"
    )
    for rank, mark in (("0", ""), ("1", "[rank 1] ")):
        env = {**ENV, "WORLD_SIZE": "2", "RANK": rank}
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=50
        )
        assert out.returncode == 2
        assert (out.stdout, out.stderr) == (f"{mark}hello\n", f"{mark}error: wrong\n")
