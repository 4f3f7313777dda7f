"""train.py with something going wrong: `python -m tests.faults KIND:RANK:STEP ARGUMENT...`.

The processes of a run import this module as well, so that the fault reaches them. RANK and STEP say where it happens;
`*` is every one. Kinds:

nan: the gradients of D are not finite in this step. diverge: neither are they in this and all later steps, unless the
run has been rolled back. hang: the step of D does not end. freeze: the process is stopped like by Ctrl-Z. memory: the
step of D runs out of memory with more than 4 images a pass; memory-always: with any number. clock: the clock is set
back by a day. impatient: the tries of an object store follow each other at once.
"""

import os
import signal
import sys
import time

import torch

import train
from dnnlib import cli, object_store
from training.run import provenance
from training.update import Updater

FAULT = "MSG_GAN_TEST_FAULT"

if __name__ == "__main__":
    os.environ[FAULT] = sys.argv.pop(1)

kind, rank, step = os.environ[FAULT].split(":")
d_gradients = Updater._d_gradients


def faulty(self, images, labels):
    """Compute the gradients of D, with the fault if it is due."""
    at = self.state.cur_nimg // self.cfg.batch
    is_here = rank in ("*", os.environ.get("RANK", "0"))
    is_now = step in ("*", str(at))

    if kind == "hang" and is_here and is_now:
        time.sleep(1000)
    if kind == "freeze" and is_here and is_now:
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind.startswith("memory") and is_here and is_now and (kind != "memory" or self.cfg.images_per_pass > 4):
        raise torch.OutOfMemoryError("out of memory (a test)")
    if kind == "clock" and is_now:
        now = time.time
        time.time = lambda: now() - 24 * 3600
        provenance._now = lambda: "1999-12-31T23:59:59+00:00"

    d_gradients(self, images, labels)

    is_diverging = kind == "diverge" and at >= int(step) and self.state.rollbacks < 1
    if (kind == "nan" and is_here and is_now) or is_diverging:
        self.state.D_opt.grad[5] = float("nan")


Updater._d_gradients = faulty
if kind == "impatient":
    object_store.WAITS = (0.0,) * len(object_store.WAITS)

if __name__ == "__main__":
    cli.run(train.main)
