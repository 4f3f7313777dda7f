"""Score networks: FID, KID, IS, precision and recall, PPL, SWD and more; see docs/metrics.md."""

from dnnlib import cli

if __name__ == "__main__":
    from metrics.command import main
    from pretrained import load_network

    cli.run(lambda: main(load_network))
