"""Experiments: what is claimed of GANs on pyramids, tried with several seeds; one command each.

`python -m experiments` lists them, and `python -m experiments.small_data --dry-run` prints the plan of one; start them
in the folder of the project. Each makes its datasets, trains its runs with train.py, scores them with run_metrics.py,
and writes a table and pictures; started again, it goes on where it was.
"""
