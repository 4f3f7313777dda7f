"""Run dirs as train.py and run_metrics.py write them, in a moment."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dnnlib.images import sheet, to_pil


def row(kimg: float, **more: Any) -> dict[str, Any]:
    """A line of stats.jsonl."""
    return {
        "kimg": kimg, "tick": round(kimg), "sec_per_kimg": 20.0, "img_per_sec": 50.0, "total_sec": 20 * kimg,
        "data_wait_share": 0.01, "Loss/D": 1 / kimg, "Loss/G": 2.0 + kimg, "Loss/scores/real": 1.0,
        "Loss/scores/fake": -1.0, "Loss/r1_penalty": 0.5, "Progress/lr": 0.003, "Progress/skipped_steps": 0,
        "Resources/peak_cpu_mem_gb": 0.5, **more,
    }  # fmt: skip


def write_run(run_dir: Path, kimg: int = 3, total: float = 3, **options: Any) -> Path:
    """A run that came to `kimg` of `total`, without sheets; `options` go into its config.json."""
    run_dir.mkdir(parents=True)
    config = {"total_kimg": total, "batch": 8, "G": {"fmap_max": 64}, **options}
    (run_dir / "config.json").write_text(json.dumps(config))
    (run_dir / "stats.jsonl").write_text("".join(json.dumps(row(k)) + "\n" for k in range(1, kimg + 1)))
    (run_dir / "log.txt").write_text("data      set: 40 images\nhardware  1 x CPU, fp32\ntick 1 ...\n")
    return run_dir


def write_sheets(run_dir: Path, kimg: range, sizes: tuple[int, ...] = (4, 8), noise: float = 20.0) -> None:
    """Sheets of 3x2 samples; the red of a pixel is 10 times its kimg, at most 250, and the rest noise."""
    rng = np.random.default_rng(0)
    for size in sizes:
        (run_dir / f"{size}x{size}").mkdir(parents=True, exist_ok=True)
        for k in kimg:
            images = (noise * rng.random((6, 3, size, size))).astype(np.uint8)
            images[:, 0] = min(10 * k, 250)
            picture = to_pil(sheet(images, 3, (sizes[-1], sizes[-1])))
            picture.save(run_dir / f"{size}x{size}" / f"fakes{k:06d}.png")


def write_metric(run_dir: Path, name: str, values: dict[float, float], **more: Any) -> None:
    """Results of a metric by kimg."""
    lines = [
        {"metric": name, "snapshot": f"network-snapshot-{kimg:06g}.safetensors", "kimg": kimg, "value": value,
         "results": {name: value, f"{name}_4": 2 * value}, "seconds": 1.0, **more}
        for kimg, value in values.items()
    ]  # fmt: skip
    with open(run_dir / f"metric-{name}.jsonl", "a") as f:
        f.write("".join(json.dumps(line) + "\n" for line in lines))


def red_of(webp: Any) -> float:
    """The mean red of a picture."""
    with Image.open(webp) as im:
        return float(np.asarray(im.convert("RGB"))[..., 0].mean())
