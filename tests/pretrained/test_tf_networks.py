"""TF1 pickles of msg-stylegan-tf and of plain StyleGAN."""

import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.tf_networks import discriminator_table, generator_table, options
from tests import tf_pickles
from tests.golden_data import CONFIGS, GOLDEN, assert_close, golden
from tests.runs import ENV, ROOT
from training.networks.architectures import build_discriminator, build_generator
from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    StyleGANDiscriminatorConfig,
    StyleGANGeneratorConfig,
)
from training.spec import ImageSpec

STYLEGAN = GOLDEN / "stylegan_tf"
LIMIT = 2e-5


@pytest.fixture(scope="module")
def sg1():
    with np.load(STYLEGAN / "sg1.npz") as f:
        return {k: torch.from_numpy(f[k]) if f[k].dtype.kind != "U" else json.loads(str(f[k])) for k in f.files}


def test_msg_stylegan_pickle():
    g, net = golden("c2"), load_network(GOLDEN / "c2_network-final.pkl")
    assert net.spec == g.spec and net.origin == "msg-stylegan-tf"
    z, c = g["z"], g["labels"]
    with torch.no_grad():
        for G, prefix in ((net.G, "out"), (net.G_ema, "Gs_out")):
            assert_close(G.mapping(z, c), g[f"{prefix}/dlatents"], 1e-5)
            for psi in (1, 0.7):
                images = G(z, c, truncation_psi=psi, noise_mode="const")
                for r, x in zip(g.spec.resolutions, images, strict=True):
                    assert_close(x, g[f"{prefix}/images_psi{psi}_{r}"], LIMIT)
        assert_close(net.D(g.pyramid("in/rand"), c), g["out/scores_rand"], LIMIT)
    for name, total in g.meta["Gs_var_sums"].items():
        row = next(r for r in generator_table(net.G_ema.cfg, net.spec) if r.theirs == name)
        assert net.G_ema.state_dict()[row.ours].double().sum().item() == pytest.approx(total, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("file", sorted(p.name for p in STYLEGAN.glob("*.pkl")))
def test_stylegan_pickles(file, sg1):
    """Every stored output of G, D and Gs: truncation, mid-growth, batch sizes."""
    net = load_network(STYLEGAN / file)
    assert net.origin.startswith("StyleGAN") and net.cur_nimg is None
    z, grown = sg1["z"], "lod1" not in file
    with torch.no_grad():
        assert_close(net.G.mapping(z), sg1["out/dlatents"], LIMIT)
        assert_close(net.G_ema.mapping(z), sg1["Gs_out/dlatents"], LIMIT)
        for key in (
            "out/images_psi1_32",
            "out/images_psi0.7_32",
            "out/images_psi0.5_cutoff3_32",
            "Gs_out/images_psi1_32",
            "Gs_out/images_psi0.7_32",
        ):
            G = net.G_ema if key.startswith("Gs") else net.G
            psi = float(key.split("psi")[1].split("_")[0])
            images = G(z, truncation_psi=psi, truncation_cutoff=3 if "cutoff" in key else 8, noise_mode="const")
            assert len(images) == 1
            if grown:
                assert_close(images[0], sg1[key], LIMIT, key)
        if not grown:
            assert_close(net.G_ema(z, noise_mode="const")[0], sg1["Gs_out/images_psi1_lod1.625_32"], LIMIT)
        for lod in sg1["extra/lods"].tolist() if grown else [1.625]:
            if grown:
                net.G.synthesis.lod.fill_(lod), net.D.lod.fill_(lod)
            assert_close(net.G(z, noise_mode="const")[0], sg1[f"extra/images_psi1_lod{lod:g}_32"], LIMIT, f"lod {lod}")
            assert_close(net.D([sg1["in/rand_32"]]), sg1[f"extra/scores_rand_lod{lod:g}"], LIMIT, f"lod {lod}")
        if grown:
            net.D.lod.zero_()
            for n in (8, 4, 3, 2, 1):
                assert_close(net.D([sg1["extra/rand8_32"][:n]]), sg1[f"extra/scores_rand8_batch{n}"], LIMIT, str(n))
            for psi in ("1", "0.7"):
                assert_close(net.D([sg1[f"out/images_psi{psi}_32"]]), sg1[f"out/scores_gen_psi{psi}"], LIMIT)


def variables(source, prefix):
    return {k.removeprefix(prefix): np.asarray(v) for k, v in source.items() if k.startswith(prefix)}


def test_stylegan_fused_layers_and_structure_fixed(sg1, tmp_path):
    """fused_scale rotates G's kernels; structure fixed does not look at lod."""
    G, D = variables(sg1, "G/"), variables(sg1, "D/")
    G["lod"] = D["lod"] = np.float32(1.625)
    kwargs = {**sg1["meta_json"]["G_static_kwargs"], "fused_scale": True, "structure": "fixed"}
    d_kwargs = {**sg1["meta_json"]["D_static_kwargs"], "fused_scale": True, "structure": "fixed"}
    (tmp_path / "x.pkl").write_bytes(tf_pickles.triple(G, D, kwargs, d_kwargs))
    net = load_network(tmp_path / "x.pkl")
    with torch.no_grad():
        assert_close(net.G(sg1["z"], noise_mode="const")[0], sg1["extra/images_psi1_fused_32"], LIMIT)
        assert_close(net.D([sg1["in/rand_32"]]), sg1["extra/scores_rand_fused"], LIMIT)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_switch_as_a_pickle(name, protocol, tmp_path):
    """All golden configurations as pickles of every protocol, as this machine's numpy writes them."""
    g = golden(name)
    G, D = variables(g.arrays, "G/"), variables(g.arrays, "D/")
    data = tf_pickles.triple(G, D, g.meta["G_static_kwargs"], g.meta["D_static_kwargs"], protocol=protocol)
    (tmp_path / "network-snapshot-001234.pkl").write_bytes(data)
    net = load_network(tmp_path / "network-snapshot-001234.pkl")
    assert net.cur_nimg == 1_234_000
    expected = g.networks()
    for found, ours in zip((net.G, net.D, net.G_ema), (*expected, expected[0]), strict=True):
        assert found.cfg == ours.cfg
        for key, t in ours.state_dict().items():
            assert torch.equal(found.state_dict()[key], t), key
    with torch.no_grad():
        images = net.G(g["z"], g["labels"], truncation_psi=1, noise_mode="const")
        assert_close(net.D(images, g["labels"]), g["out/scores_gen_psi1"], 1e-4)


def test_big_endian_and_shared_arrays(tmp_path):
    """What other machines wrote, and an array that two variables share."""
    g = golden("c1")
    G, D = variables(g.arrays, "G/"), variables(g.arrays, "D/")
    shared = G["G_mapping/Dense1/bias"] = G["G_mapping/Dense2/bias"].astype(">f4")
    G["G_mapping/Dense2/bias"] = shared
    G["G_mapping/Dense1/weight"] = np.asfortranarray(G["G_mapping/Dense1/weight"].astype(">f4"))
    kwargs = g.meta["G_static_kwargs"]
    (tmp_path / "x.pkl").write_bytes(tf_pickles.triple(G, D, kwargs, g.meta["D_static_kwargs"]))
    state = load_network(tmp_path / "x.pkl").G.state_dict()
    np.testing.assert_array_equal(state["mapping.fc1.bias"], shared)
    np.testing.assert_array_equal(state["mapping.fc2.bias"], shared)
    np.testing.assert_array_equal(state["mapping.fc1.weight"], G["G_mapping/Dense1/weight"].T)


def test_one_network_alone(tmp_path):
    g = golden("c1")
    cls = tf_pickles.network_class()
    G = variables(g.arrays, "G/")  # version 2: one flat list, no components
    kwargs = g.meta["G_static_kwargs"]
    gs = tf_pickles.network(cls, version=2, name="Gs", static_kwargs=kwargs, variables=list(G.items()))
    (tmp_path / "x").write_bytes(tf_pickles.dumps(gs, cls))
    net = load_network(tmp_path / "x")
    assert net.G is None and net.D is None and net.generator() is net.G_ema


def test_static_kwargs():
    """Defaults for absent ones, our words for theirs, None and switches that were off, unknown ones by name."""
    assert options({}, GeneratorConfig) == ({}, [])
    assert GeneratorConfig(**options({}, GeneratorConfig)[0]) == GeneratorConfig(
        fmap_base=8192, fmap_max=512, z_dim=512, w_dim=512, mapping_fmaps=512, mapping_layers=8, truncation_psi=0.7
    )
    fields, unknown = options(
        {
            "latent_size": 8, "dlatent_size": 9, "normalize_latents": False, "nonlinearity": "relu",
            "blur_filter": None, "mapping_nonlinearity": "relu", "const_input_layer": False, "fused_scale": False,
            "dlatent_avg_beta": None, "truncation_psi": None, "structure": "auto", "style_mixing_prob": 0.9,
            "resolution": 4, "novelty": 1,
        },
        GeneratorConfig,
    )  # fmt: skip
    assert unknown == ["novelty"]
    assert fields == {
        "z_dim": 8, "w_dim": 9, "normalize_z": False, "activation": "relu", "blur_filter": [], "use_const_input": False,
        "mapping_activation": "relu", "fused_scale": "false", "w_avg_beta": 1.0, "truncation_psi": 1.0,
    }  # fmt: skip
    assert options({"truncation_psi": 0.5, "truncation_cutoff": None}, GeneratorConfig)[0] == {"truncation_psi": 1.0}
    d, _ = options({"mbstd_group_size": 0, "fused_scale": "auto"}, DiscriminatorConfig)
    assert d == {"mbstd_group_size": 1, "mbstd_num_features": 0}


def change(tmp_path, **changes):
    """The pickle of c1 with something else in it."""
    g = golden("c1")
    G, D = variables(g.arrays, "G/"), variables(g.arrays, "D/")
    kwargs, d_kwargs = dict(g.meta["G_static_kwargs"]), dict(g.meta["D_static_kwargs"])
    kwargs.update(changes.get("kwargs", {}))
    for k in changes.get("drop", []):
        D.pop(k)
    D.update(changes.get("add", {}))
    data = tf_pickles.triple(G, D, kwargs, d_kwargs, version=changes.get("version", 3))
    (tmp_path / "x.pkl").write_bytes(data)
    return tmp_path / "x.pkl"


def test_options_that_are_numpy_numbers(tmp_path):
    numbers = {"resolution": np.int64(8), "fmap_base": np.int32(64), "truncation_psi": np.float32(0.5)}
    path = change(tmp_path, kwargs=numbers)
    assert load_network(path).G.cfg == replace(golden("c1").networks()[0].cfg, truncation_psi=0.5)


def test_unknown_option_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="Gs?: ignored unknown options novelty"):
        load_network(change(tmp_path, kwargs={"novelty": 3}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_network(change(tmp_path, kwargs={"style_mixing_prob": 0.9}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 4}, "version 4, of StyleGAN2 (TensorFlow), which is not supported"),
        ({"version": 1}, "version 1"),
        ({"add": {"4x4/Conv/bias": "text"}}, "variable 4x4/Conv/bias is not an array"),
        ({"kwargs": {"resolution": 2}}, "resolution: found 2x2"),
        ({"kwargs": {"resolution": 4}}, "unknown tensor"),
        ({"kwargs": {"resolution": 16}}, "missing tensor"),
        ({"kwargs": {"nonlinearity": "swish"}}, "activation: found 'swish'"),
        ({"kwargs": {"fmap_base": "many"}}, "fmap_base: found 'many'"),
        ({"kwargs": {"latent_size": -1}}, "z_dim: found -1"),
        ({"kwargs": {"latent_size": np.ones(3)}}, "z_dim: found [1.0, 1.0, 1.0]"),
    ],
)
def test_other_networks_are_one_line(tmp_path, changes, message):
    with pytest.raises(UserError) as e:
        load_network(change(tmp_path, **changes))
    assert message in str(e.value) and "x.pkl" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": ["4x4/Conv/bias"]}, "D: missing tensor 4x4/Conv/bias"),
        ({"add": {"more/of": np.zeros(3, np.float32)}}, "D: unknown tensor more/of"),
        ({"add": {"4x4/Conv/bias": np.zeros(3, np.float32)}}, "b4.conv0.bias is [3], expected [16]"),
        ({"add": {"4x4/Conv/weight": np.zeros(3, np.float32)}}, "4x4/Conv/weight has shape [3]"),
    ],
)
def test_a_discriminator_of_unknown_layers_is_left_out(tmp_path, changes, message):
    """The generators are of use without it. A file that has nothing else is refused."""
    path = change(tmp_path, **changes)
    with pytest.warns(UserWarning, match=re.escape(message) + ".*: this D is left out"):
        net = load_network(path)
    expected = load_network(change(tmp_path))
    assert net.D is None
    for name in ("G", "G_ema"):
        ours, theirs = getattr(net, name).state_dict(), getattr(expected, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)

    g = golden("c1")
    D = variables(g.arrays, "D/")
    D["more/of"] = np.zeros(3, np.float32)
    cls = tf_pickles.network_class()
    alone = tf_pickles.network(
        cls, version=3, name="D", static_kwargs=g.meta["D_static_kwargs"], components={}, variables=list(D.items())
    )
    (tmp_path / "d.pkl").write_bytes(tf_pickles.dumps(alone, cls))
    with pytest.raises(UserError, match="D: unknown tensor more/of"):
        load_network(tmp_path / "d.pkl")


def test_a_discriminator_that_sees_the_full_resolution_alone(tmp_path):
    """The branch no-intermediate_rgb_in_disc has no `combine` layers."""
    combines = [key for key in variables(golden("c1").arrays, "D/") if "/combine/" in key]
    net = load_network(change(tmp_path, drop=combines))
    expected = load_network(change(tmp_path))
    assert net.D.cfg == replace(expected.D.cfg, resolutions=())
    x = [torch.randn(4, net.spec.channels, r, r) for r in net.spec.resolutions]
    c = torch.eye(max(net.spec.c_dim, 1))[torch.zeros(4, dtype=torch.long)][:, : net.spec.c_dim]
    scores = net.D(x, c)
    other = [torch.zeros_like(level) for level in x[:-1]] + x[-1:]
    assert torch.equal(scores, net.D(other, c)) and not torch.equal(expected.D(x, c), expected.D(other, c))

    # Its weights are those of the file.
    theirs = expected.D.state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in net.D.state_dict().items())


def test_a_generator_of_4x4_alone(tmp_path):
    """The first level of a file is one by itself: its images are the smallest of the pyramid."""
    g = golden("c1")
    lod = int(math.log2(g.networks()[0].spec.resolution)) - 2
    own = {k: v for k, v in variables(g.arrays, "G/").items() if k.startswith(("G_mapping", "dlatent_avg"))}
    for key, value in variables(g.arrays, "G/").items():
        if key.startswith("G_synthesis/4x4") or key in ("G_synthesis/noise0", "G_synthesis/noise1"):
            own[key] = value
        elif key.startswith(f"G_synthesis/ToRGB_lod{lod}/"):
            own[key.replace(f"lod{lod}", "lod0")] = value
    kwargs = {**g.meta["G_static_kwargs"], "resolution": 4}
    cls = tf_pickles.network_class()
    small = tf_pickles.network(
        cls, version=2, name="Gs", static_kwargs=kwargs, variables=list(own.items()), num_inputs=2, more="of later code"
    )
    (tmp_path / "x.pkl").write_bytes(tf_pickles.dumps(small, cls))
    G = load_network(tmp_path / "x.pkl").G_ema
    full = load_network(change(tmp_path)).G_ema
    z = torch.randn(3, G.cfg.z_dim)
    c = torch.zeros(3, G.spec.c_dim)
    (image,) = G(z, c, noise_mode="const")
    assert torch.equal(image, full(z, c, noise_mode="const")[0])


@pytest.mark.parametrize("name", ["1024_label0", "512_label0", "256_label0", "64_label10"])
def test_tables_name_every_variable_of_the_default_stylegan(name):
    """Names and shapes of the original at its default sizes."""
    facts = json.loads((STYLEGAN / "default_vars.json").read_text())[name]
    resolution, labels = name.split("_label")
    spec = ImageSpec(resolution=int(resolution), c_dim=int(labels))
    for kind, cfg, table, build in (
        ("G", StyleGANGeneratorConfig(), generator_table, build_generator),
        ("D", StyleGANDiscriminatorConfig(), discriminator_table, build_discriminator),
    ):
        shapes = {n: s for n, s, _ in facts[kind]["vars"] if n != "G_synthesis/lod"}
        rows = {row.theirs: row for row in table(cfg, spec)}
        assert rows.keys() == shapes.keys()
        with torch.device("meta"):
            net = build(cfg, spec)
        ours = {k: tuple(t.shape) for k, t in net.state_dict().items()}
        assert ours == {r.ours: r.transform(np.broadcast_to(np.float32(0), shapes[n])).shape for n, r in rows.items()}
        assert sum(p.numel() for p in net.parameters()) == facts[kind]["n_trainable"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_default_1024_pickle_opens_within_little_more_than_twice_its_size(tmp_path):
    """All three networks read; opening alone takes a fraction of a second."""

    spec = ImageSpec(resolution=1024)
    variables = {}
    for name, cfg, table, build in (
        ("G", GeneratorConfig(), generator_table, build_generator),
        ("D", DiscriminatorConfig(), discriminator_table, build_discriminator),
    ):
        with torch.device("meta"):
            shapes = {k: t.shape for k, t in build(cfg, spec).state_dict().items()}
        variables[name] = {}
        for row in table(cfg, spec):  # the transforms are permutations of axes, and undone by the reverse order
            shape = shapes[row.ours]
            probe = row.transform(np.broadcast_to(np.float32(0), tuple(range(2, 2 + len(shape))))).shape
            order = [probe.index(i) for i in range(2, 2 + len(shape))]
            variables[name][row.theirs] = np.ones([shape[i] for i in order], np.float32)
    kwargs = {"num_channels": 3, "resolution": 1024, "label_size": 0}
    path = tmp_path / "network-snapshot-025000.pkl"
    path.write_bytes(tf_pickles.triple(variables["G"], variables["D"], kwargs, kwargs))
    size = path.stat().st_size
    assert size > 2e8
    out = subprocess.run(
        [sys.executable, "-m", "tests.pretrained.peak_memory", path],
        cwd=ROOT,
        env=ENV,
        capture_output=True,
        text=True,
        check=True,
    )
    opened, first, total = map(float, out.stdout.split())
    assert opened < 5 and first < 1.5 * size and total <= 2.1 * size, (opened, first / size, total / size)
