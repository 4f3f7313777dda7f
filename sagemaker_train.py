"""Entry point of a training job of Amazon SageMaker; see docs/sagemaker.md."""

from dnnlib import cli

if __name__ == "__main__":
    from cluster.sagemaker import main

    cli.run(main)
