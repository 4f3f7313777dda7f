import sys
from dataclasses import replace
import tyro
import config
from dnnlib import cli
from dnnlib.launch import launch
from training.config import TrainConfig
from training.loop import train

def main():
    cfg = tyro.cli(TrainConfig, default=config.PRESETS[sys.argv[1]](), args=sys.argv[2:])
    return launch(train, cfg, cfg.gpus)

if __name__ == "__main__":
    cli.run(main)
