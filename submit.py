"""Submit a script to Slurm; see docs/clusters.md."""

from dnnlib import cli

if __name__ == "__main__":
    from cluster.slurm import main

    cli.run(main)
