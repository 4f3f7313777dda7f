"""The figures of the StyleGAN paper."""

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import LABEL_HEIGHT
from generation.figures import FIGURES, figures
from generation.sampling import Sampler, SamplingOptions
from tests.golden_data import GOLDEN

NETWORK = str(GOLDEN / "c2_network-final.pkl")  # 32x32, with noise
PROGAN = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")


def options(network=NETWORK, **changes):
    return SamplingOptions(network=network, device="cpu", class_idx=1 if network == NETWORK else None, **changes)


def draw(name, tmp_path):
    figures((name,), sampling=options(), size=32, outdir=tmp_path)
    return np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int)


def image(seed, **changes):
    sampler = Sampler(options(**changes))
    [sample] = sampler.draw([sampler.latent(seed)])
    return sample.images[-1].transpose(1, 2, 0).astype(int)


def near(a, b):
    return np.abs(a - b).max() <= 1


def test_mosaic_has_columns_of_four_sizes(tmp_path):
    pixels = draw("mosaic", tmp_path)
    assert pixels.shape == (96, 32 + 16 + 8 + 8 + 4 + 4, 3)
    sampler = Sampler(options())
    [first, *_] = sampler.draw(sampler.random_state(5, 63))
    assert near(pixels[:32, :32], first.images[-1].transpose(1, 2, 0))


def test_mixing_has_rows_for_the_layers_that_there_are(tmp_path):
    pixels = draw("mixing", tmp_path)
    assert pixels.shape == (32 * 6, 32 * 6, 3)  # five rows: a 32x32 network has no layers of 64x64
    assert near(pixels[:32, 32:64], image(639)) and near(pixels[32:64, :32], image(888))


def test_noise_detail_shows_an_image_parts_of_it_and_the_deviation(tmp_path):
    pixels = draw("noise-detail", tmp_path)
    assert pixels.shape == (64, 96, 3)
    deviation = pixels[:, 64:]
    assert (deviation[:, :, 0] == deviation[:, :, 1]).all() and deviation.max() > 0

    sampler = Sampler(options(noise_mode="random"))
    w = sampler.map([sampler.latent(1157)], psi=1).expand(100, -1, -1)
    noisy = np.stack([levels[-1] for levels in sampler.render(w, range(100))]).mean(1)
    assert np.abs(deviation[:32, :, 0] - np.clip(4 * noisy.std(0), 0, 255)).max() <= 1


def test_noise_components_have_all_no_fine_and_coarse_noise(tmp_path):
    pixels = draw("noise-components", tmp_path)
    assert pixels.shape == (2 * (32 + LABEL_HEIGHT), 4 * 32, 3)
    cells = [pixels[:32, 32 * k : 32 * k + 32] for k in range(4)]
    assert near(cells[0], image(1967, noise_mode="random", trunc=1.0))
    assert near(cells[1], image(1967, noise_mode="none", trunc=1.0))
    assert all(not near(a, b) for k, a in enumerate(cells) for b in cells[:k])


def test_truncation_goes_through_the_mean_image(tmp_path):
    pixels = draw("truncation", tmp_path)
    assert pixels.shape == (2 * (32 + LABEL_HEIGHT), 6 * 32, 3)
    assert near(pixels[:32, :32], image(91, trunc=1.0))
    # At psi 0 both rows show the same.
    assert near(pixels[:32, 96:128], pixels[32 + LABEL_HEIGHT : 64 + LABEL_HEIGHT, 96:128])


def test_all_figures_that_a_network_can_show(tmp_path, capsys):
    figures(sampling=options(), outdir=tmp_path / "all")
    assert sorted(path.stem for path in (tmp_path / "all").iterdir()) == sorted(FIGURES)

    figures(sampling=options(PROGAN), outdir=tmp_path / "progan", format="webp")
    assert sorted(path.name for path in (tmp_path / "progan").iterdir()) == ["mosaic.webp", "truncation.webp"]
    assert "mixing: left out, because this network has no styles to mix" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kinds", "arguments", "message"),
    [
        (("mosaic", "mixing"), {"sampling": options(PROGAN)}, "figures mixing: this network has no styles to mix"),
        (("noise-detail",), {"sampling": options(PROGAN)}, "figures noise-detail: this network has no noise inputs"),
        (("mosaic",), {"size": 0}, "--size 0: expected 1 to 4096"),
    ],
)
def test_what_is_refused(tmp_path, kinds, arguments, message):
    with pytest.raises(UserError, match=message):
        figures(kinds, **{"sampling": options(), "outdir": tmp_path / "o", **arguments})
    assert not (tmp_path / "o").exists()


def test_a_figure_is_replaced_only_if_asked_for(tmp_path):
    figures(("truncation",), sampling=options(), outdir=tmp_path)
    with pytest.raises(UserError, match=r"truncation\.png exists already"):
        figures(("truncation",), sampling=options(), outdir=tmp_path)
    figures(("truncation",), sampling=options(), outdir=tmp_path, overwrite=True)
