"""Jobs of Slurm: any script of this project, on one or several nodes, queued again when its time is up."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import make_dir

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """Submit a script to Slurm, e.g. `submit.py --nodes 2 --hours 24 -- train.py flowers256 --gpus 16`.

    The processes that the script's --gpus asks for are divided among the nodes. When the time of the job is nearly up,
    training is asked to stop, writes a checkpoint, and the job is queued again, in which it goes on. For that,
    `--resume auto` is added to a train.py without --resume.
    """

    nodes: int = 1
    """Machines."""
    hours: float = 24.0
    """Time limit of the job, after which it is queued again."""
    grace_seconds: int = 120
    """Time before the limit at which the script is asked to stop."""
    gpus: bool = True
    """Ask for a GPU for each process; off = train on CPUs."""
    cpus_per_process: int = 8
    """Cores for each process."""
    memory_gb: int | None = None
    """Memory of each node. Default: what the cluster gives."""
    name: str = "msg-gan"
    """Name of the job."""
    folder: Path = Path("slurm")
    """Folder for the logs of jobs, which all nodes must see."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch without their dashes, e.g. `--sbatch partition=gpu account=lab constraint=h100`."""
    print_job: cli.Switch = False
    """Print the job file in place of submitting it."""

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("grace_seconds", 30), ("cpus_per_process", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')}: expected at least {least}")
        if self.hours * 3600 <= self.grace_seconds:
            raise UserError(f"--hours {self.hours:g}: expected more than --grace-seconds {self.grace_seconds}")
        for option in self.sbatch:
            if not re.fullmatch(r"[a-z][a-z-]*(=[^\s#]+)?", option):
                raise UserError(f"--sbatch {option}: expected NAME=VALUE")


def main() -> None:
    """Run the command line of submit.py."""
    args = sys.argv[1:]
    at = args.index("--") if "--" in args else len(args)
    options: Options = cli.one_line_errors(
        lambda: tyro.cli(Options, args=args[:at], prog="submit.py", description=Options.__doc__)
    )
    command = args[at + 1 :]
    if not command:
        raise UserError("no script to run, expected e.g. submit.py --hours 24 -- train.py flowers256 --gpus 8")

    text = job_file(options, command)
    if options.print_job:
        print(text, end="")
        return

    # Slurm does not create the folder of a log.
    make_dir(options.folder)
    try:
        out = subprocess.run(["sbatch", "--parsable"], input=text, capture_output=True, text=True, check=True)
    except FileNotFoundError as e:
        raise UserError("sbatch: not found, expected a machine of a Slurm cluster; --print-job shows the job") from e
    except subprocess.CalledProcessError as e:
        raise UserError(f"sbatch: {e.stderr.strip()}") from e
    number = out.stdout.strip().partition(";")[0]
    print(f"job {number}: log in {options.folder}/{number}.log")


def job_file(options: Options, command: list[str]) -> str:
    """Return a file for sbatch that runs a script of this project; raise UserError if there is no such script."""
    script = ROOT / command[0]
    if not script.is_file():
        raise UserError(f"{command[0]}: no script of this project, expected e.g. train.py")
    processes = _processes(command)
    if processes % options.nodes:
        raise UserError(f"--gpus {processes}: expected a multiple of --nodes {options.nodes}")

    # A job that is queued again runs the same command again.
    is_resumed = any(word.partition("=")[0] == "--resume" for word in command)
    more = ["--resume", "auto"] if script.name == "train.py" and not is_resumed else []
    command = [sys.executable, str(script), *command[1:], *more]

    # SIGTERM goes to the processes that srun has started, not to this file. Slurm itself queues jobs again that it has
    # preempted, or whose nodes have failed.
    per_node = processes // options.nodes
    minutes = max(1, round(options.hours * 60))

    # Slurm may send the signal up to a minute early, and this file has begun after the job.
    late = max(0, minutes * 60 - options.grace_seconds - 90)
    flags = [
        f"job-name={options.name}",
        f"nodes={options.nodes}",
        f"ntasks-per-node={per_node}",
        f"cpus-per-task={options.cpus_per_process}",
        *([f"gpus-per-node={per_node}"] if options.gpus else []),
        *([f"mem={options.memory_gb}G"] if options.memory_gb is not None else []),
        f"time={minutes}",
        f"signal=TERM@{options.grace_seconds}",
        "requeue",
        "open-mode=append",
        f"output={options.folder}/%j.log",
        *options.sbatch,
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH --{flag}" for flag in flags),
            "",
            "# A run that stops before its end makes this file.",
            f'export MSG_GAN_STOPPED={shlex.quote(str(options.folder))}/"$SLURM_JOB_ID".stopped',
            'rm -f "$MSG_GAN_STOPPED"',
            f"srun --kill-on-bad-exit=1 {shlex.join(command)}",
            "status=$?",
            "",
            "# It has stopped because the time was nearly up: go on in a new job.",
            f'if test -e "$MSG_GAN_STOPPED" && test $SECONDS -ge {late}; then',
            '  scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            "exit $status",
            "",
        ]
    )


def _processes(command: list[str]) -> int:
    """Return the number of processes that a command asks for with --gpus; raise UserError if it is none."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == "--gpus":
            text = value if equals else following
            if not text.isdecimal() or not int(text):
                raise UserError(f"--gpus: found {text or 'nothing'}, expected a number of processes")
            return int(text)
    return 1
