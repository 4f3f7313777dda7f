"""Train a multi-scale-gradient GAN.

python train.py [PRESET | config.json] [options]

A preset (default: robohash) sets every option below; `--help` after another preset shows its values. The preset `auto`
looks at the dataset of --data and at this machine, and says why it chooses what. The config.json of a run launches the
same run again. `config.py` holds the presets:
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import tyro

import config
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import read_json
from dnnlib.privacy import without_secrets
from training.config import TrainConfig, from_dict
from training.spec import ImageSpec, shape_text


def parse(args: Sequence[str]) -> TrainConfig:
    """Return the options of a command line; raise UserError for an unknown preset or option and for a wrong value."""
    # The first argument may name a preset, or a file of options.
    named = bool(args) and not args[0].startswith("-")
    name, options = (args[0], args[1:]) if named else ("robohash", args)
    if not named:
        name, options = _preset_option(options, name)
    try:
        if name.endswith(".json"):
            default = from_dict(TrainConfig, read_json(Path(name), "the config.json of a run"), name)
        elif name == "auto":
            default = _auto(_parse_options(config.UNCHOSEN, options))
        elif name in config.PRESETS:
            default = config.PRESETS[name]()
        else:
            raise UserError(
                f"{name}: unknown preset, expected auto, one of {', '.join(config.PRESETS)}, or a config.json"
            )
        cfg = _parse_options(default, options)

        # With --init, the networks are those of its files, but for the options that are given as well.
        if cfg.init != default.init:
            from generation.networks import initial_files
            from pretrained.warm_start import with_networks_of

            # From here on the copy is found by the address without its password or token, which no file shall keep.
            files, init = initial_files(cfg.init), tuple(map(without_secrets, cfg.init))
            default = with_networks_of(default, replace(cfg, init=init), files)
            cfg = replace(_parse_options(default, options), init=init)
        return cfg
    except ValueError as e:
        raise UserError(str(e)) from e


def _preset_option(args: Sequence[str], default: str) -> tuple[str, list[str]]:
    """Return the preset that `--preset NAME` or `--preset=NAME` names, or the default, and the other arguments."""
    args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--preset=") else [arg])]
    if "--preset" not in args[:-1]:
        return default, args
    at = args.index("--preset")
    return args[at + 1], [*args[:at], *args[at + 2 :]]


def _auto(given: TrainConfig) -> TrainConfig:
    """Return the options of the preset `auto` for the dataset and the machine that are given, and print why."""
    if not given.data:
        raise UserError("auto: expected --data DATASET, which it looks at")

    from dataprep.prepare import count_images, needs_scaling, scaled
    from dnnlib.distributed import pick_device
    from dnnlib.launch import is_first_process
    from dnnlib.object_store import local_copy
    from training.data.dataset import open_dataset

    data, reason = Path(given.data), None
    if not given.stream:
        data = local_copy(data)
        reason = needs_scaling(data, given.resolution)

    # Images of any size are scaled first, as they will be for training; a dry run only counts them.
    if reason is not None and given.dry_run:
        images, spec = count_images(data), ImageSpec(resolution=given.resolution or 64)
        found = f"{images:,} images to be scaled to {spec.size_text}, labels not looked at"
    else:
        data = data if reason is None else scaled(data, reason, given.resolution)
        dataset = open_dataset(data, given.resolution, given.use_labels, given.stream)
        images, spec = len(dataset), dataset.spec
        found = f"{images:,} images {shape_text(spec.shape)}" + (f", {spec.c_dim} label values" if spec.c_dim else "")

    device = pick_device(given.device)
    facts = config.Facts(
        images=images,
        resolution=spec.resolution,
        c_dim=spec.c_dim,
        has_gpu=device.type == "cuda",
        gpus=given.gpus,
        has_init=bool(given.init),
        batch=None if given.batch == config.UNCHOSEN.batch else given.batch,
        total_kimg=None if given.total_kimg == config.UNCHOSEN.total_kimg else given.total_kimg,
    )
    default, reasons = config.auto(facts)
    if is_first_process():
        print(f"auto      {found}; {given.gpus} x {device.type}")
        for reason in reasons:
            print(f"          {reason}")
    return default


def _parse_options(default: TrainConfig, args: Sequence[str]) -> TrainConfig:
    """Return the options of a command line, with those of `default` where it gives none."""
    description = f"{__doc__}\n{', '.join(config.PRESETS)}"

    # The architecture is the default's: no subcommand chooses another.
    kind = (tyro.conf.AvoidSubcommands,)
    parsed: TrainConfig = cli.one_line_errors(
        lambda: tyro.cli(TrainConfig, default=default, args=args, description=description, prog="train.py", config=kind)
    )
    return parsed


def main() -> int:
    """Run the command line; return the exit status."""
    cfg = parse(sys.argv[1:])

    # Images of any size are scaled first.
    from dataprep.prepare import needs_scaling, scaled
    from dnnlib.object_store import local_copy

    reason = None
    if not cfg.stream:
        data = local_copy(Path(cfg.data))
        reason = needs_scaling(data, cfg.resolution)
    if cfg.dry_run:
        from training.run.forecast import print_forecast

        print_forecast(cfg, is_scaled=reason is not None)
        return 0
    if reason is not None:
        cfg = replace(cfg, data=str(scaled(data, reason, cfg.resolution)))

    # Imports that take seconds come after the options are known to be right.
    from dnnlib.launch import is_first_process, launch
    from generation.networks import load_initial
    from training.run.entry import check, train

    # Metrics of the snapshots; a missing weight file is better told now than after hours.
    hooks = []
    if cfg.metrics:
        from metrics.hook import ScoreSnapshots, missing_weights
        from pretrained import load_network

        if is_first_process():
            for problem in missing_weights(cfg.metrics):
                print(f"warning: {problem}", file=sys.stderr)
        hooks.append(ScoreSnapshots(load_network))

    check(cfg, load_initial)
    return launch(partial(train, load_weights=load_initial, hooks=hooks), cfg, cfg.gpus)


if __name__ == "__main__":
    cli.run(main)
