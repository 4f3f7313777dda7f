"""Draw images with a network that `export.py onnx` wrote, with numpy, Pillow and onnxruntime alone.

python sample.py G.onnx --seeds 0 1 2 3 --psi 0.7 --output samples.png
"""

import argparse

import numpy as np
import onnxruntime
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="file that `export.py onnx` wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)), help="an image for each")
    parser.add_argument("--class", type=int, dest="label", help="class of all images; default: each in turn")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation: 1 = none, 0 = the average image")
    parser.add_argument("--output", default="samples.png", help="picture to write")
    options = parser.parse_args()

    G = onnxruntime.InferenceSession(options.network)
    shapes = {entry.name: entry.shape for entry in G.get_inputs()}
    n = len(options.seeds)

    # Latents are normal random numbers. These are the ones that the project's own commands take for the same seeds.
    z_dim = shapes["z"][1]
    inputs = {
        "z": np.stack([np.random.RandomState(seed).randn(z_dim) for seed in options.seeds]).astype(np.float32),
        "psi": np.array(options.psi, np.float32),
    }

    # Conditional networks take a one-hot label as well.
    if "c" in shapes:
        classes = shapes["c"][1]
        labels = np.arange(n) % classes if options.label is None else np.full(n, options.label)
        inputs["c"] = np.eye(classes, dtype=np.float32)[labels]

    # Noise, if the network was exported with noise as inputs: a map for each layer.
    for name, shape in shapes.items():
        if name.startswith("noise"):
            inputs[name] = (
                np.random.RandomState(int(name.removeprefix("noise"))).randn(n, *shape[1:]).astype(np.float32)
            )

    # The last output is the largest level of the pyramid, float32 [n,channels,height,width], about -1 to 1.
    images = G.run(None, inputs)[-1]
    pixels = ((images + 1) * 127.5).round().clip(0, 255).astype(np.uint8)

    # Side by side; gray images have one channel.
    row = np.concatenate(list(pixels.transpose(0, 2, 3, 1)), axis=1)
    Image.fromarray(row[..., 0] if row.shape[2] == 1 else row).save(options.output)
    print(f"{options.output}: {n} images of {images.shape[3]}x{images.shape[2]} pixels")


if __name__ == "__main__":
    main()
