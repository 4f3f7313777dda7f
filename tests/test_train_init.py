"""train.py --init: runs that start from other networks of every kind, same or different in shape."""

import json
import re
import shutil
import zipfile

import pytest
import torch

import train as train_script
from pretrained import load_network
from tests.golden_data import GOLDEN
from tests.runs import ROOT, make_dataset, newest_checkpoint, run_dirs, shown, train
from training.config import as_dict
from training.networks.config import GeneratorConfig
from training.run.snapshot import save_snapshot

C2 = str(GOLDEN / "c2_network-final.pkl")  # 32x32, RGB, 3 classes
SG1 = str(GOLDEN / "stylegan_tf" / "sg1_network-final.pkl")  # 32x32, RGB
BMSG = GOLDEN / "bmsg_gan" / "depth4_latent16"  # 32x32, RGB
GEN, SHADOW, DIS = (str(BMSG / f"GAN_{n}_1.pth") for n in ("GEN", "GEN_SHADOW", "DIS"))
SHORT = ["--batch", 4, "--micro-batch", 4, "--total-kimg", 0.004, "--tick-kimg", 0.004]
NO_STEP = ["--G-opt.lr", 0, "--D-opt.lr", 0]  # the run's networks stay what they started as


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        (r, classes): make_dataset(folder / f"d{r}c{classes}", n=12, resolution=r, classes=classes)
        for r, classes in ((32, 3), (16, 3), (64, 3), (32, 5))
    }


def start(data, tmp_path, *args, preset="tiny"):
    """A run of one step with learning rate 0: its output, and its networks."""
    resolution = ["--resolution", str(data.name[1:3])]
    out = train(preset, "--data", data, "--result-dir", tmp_path, *SHORT, *NO_STEP, *resolution, *args)
    (run,) = run_dirs(tmp_path)
    return out.stdout, newest_checkpoint(run), run


def test_everything_fits(data, tmp_path):
    """Same images: G, D and the average are those of the file, and so is the architecture, whatever the preset says."""
    out, state, run = start(data[32, 3], tmp_path, "--init", C2)
    net = load_network(C2)
    for name in ("G", "D", "G_ema"):
        for key, t in getattr(net, name).state_dict().items():
            if name == "G_ema":  # one step of the average
                now = net.G.state_dict()[key]
                buffer = key.endswith(("w_avg", "noise_const"))
                t = now if buffer else now + (t - now) * 0.5 ** (4 / 1000)
            if not key.endswith("w_avg"):
                torch.testing.assert_close(state[name][key], t, rtol=1e-5 if name == "G_ema" else 0, atol=1e-8)
    assert state["config"]["G"]["mapping_fmaps"] == 48 and state["config"]["D"]["fmap_max"] == 32
    assert state["config"]["init"] == [C2]
    lines = shown(run).splitlines()
    assert f"init      {C2}" in lines and lines == [x for x in out.splitlines() if x in lines]
    assert re.search(r"^mapping +9,520 +0$", out, re.M) and "not used" not in out


@pytest.mark.parametrize(
    ("size", "rows"),
    [
        (
            (16, 3),
            [r"^b16 +[\d,]+ +[\d,]+  fromrgb.weight not in the file$", r"^not used: synthesis.b32, synthesis.torgb32$"],
        ),
        ((64, 3), [r"^synthesis.b64 +0 +[\d,]+  .* not in the file$", r"^synthesis.b32 +[\d,]+ +0$"]),
        (
            (32, 5),
            [
                r"mapping .* label_weight \[3, 32\] there, \[5, 32\]",
                r"fc1.weight \[3, 32\] there, \[5, 32\] here: adapted$",
            ],
        ),
    ],
)
def test_another_resolution_or_number_of_classes(data, tmp_path, size, rows):
    out, state, _ = start(data[size], tmp_path, "--init", C2)
    for row in rows:
        assert re.search(row, out, re.M), row
    net = load_network(C2)
    for key in ("synthesis.b16.layer1.source.weight", "synthesis.torgb8.weight", "mapping.fc1.weight"):
        assert torch.equal(state["G"][key], net.G.state_dict()[key])
    assert torch.equal(state["D"]["b8.conv1.weight"], net.D.state_dict()["b8.conv1.weight"])


def test_bmsg_gan_files(data, tmp_path):
    """All three; the shadow is the average."""
    files = ["--init", GEN, SHADOW, DIS]
    _, state, run = start(data[32, 3], tmp_path, "--no-use-labels", *files, preset="progan-robohash")
    assert run.name == "00000-msg-progan-d32c3-1gpu"
    net = load_network(GEN, SHADOW, DIS)
    for name in ("G", "D", "G_ema"):
        for key, t in getattr(net, name).state_dict().items():
            expected = t if name != "G_ema" else 0.999 * t + 0.001 * net.G.state_dict()[key]
            torch.testing.assert_close(state[name][key], expected, rtol=0, atol=1e-6)


def test_generator_alone(data, tmp_path):
    """D starts afresh, of the same size; the average starts at G."""
    out, state, _ = start(data[32, 3], tmp_path, "--no-use-labels", "--init", GEN, preset="progan-robohash")
    assert re.search(r"^D +all fresh  not in the file$", out, re.M)
    assert state["config"]["D"]["features"] == 16
    net = load_network(GEN)
    torch.testing.assert_close(state["G_ema"]["synthesis.torgb32.weight"], net.G.synthesis.torgb32.weight)


def test_plain_stylegan_becomes_msg_stylegan(data, tmp_path):
    out, state, run = start(data[32, 3], tmp_path, "--no-use-labels", "--init", SG1)
    assert "msg-stylegan" in run.name and "not used: synthesis.lod" in out
    net = load_network(SG1)
    for key, t in net.G.state_dict().items():
        if key not in ("synthesis.lod", "mapping.w_avg"):
            assert torch.equal(state["G"][key], t), key
    assert torch.equal(state["D"]["b32.conv1.weight"], net.D.b32.conv1.weight)
    assert re.search(r"^b16 .* combine.conv.weight not in the file$", out, re.M)


def test_own_snapshot_and_relaunch(data, tmp_path):
    """From a snapshot of an earlier run; config.json of the new run launches the same, overrides included."""
    small = ["--data", data[32, 3], *SHORT, "--init"]
    train("tiny", "--data", data[32, 3], "--result-dir", tmp_path / "a", *SHORT)
    snapshot = next(run_dirs(tmp_path / "a")[0].glob("*.safetensors"))
    train("tiny", *small, snapshot, "--result-dir", tmp_path / "b", "--G.mapping-layers", 3)
    (run,) = run_dirs(tmp_path / "b")
    first = newest_checkpoint(run)
    assert first["config"]["G"]["mapping_layers"] == 3 and first["config"]["G"]["z_dim"] == 16
    train(run / "config.json", "--result-dir", tmp_path / "c")
    again = newest_checkpoint(run_dirs(tmp_path / "c")[0])
    assert all(torch.equal(t, again["G"][k]) for k, t in first["G"].items())


@pytest.mark.parametrize("how", ["auto", "run dir", "config.json"])
def test_resuming_does_not_start_over(data, tmp_path, how):
    """A run that began with --init goes on from its checkpoint, also when the file is gone meanwhile."""
    file = tmp_path / "old.pkl"
    shutil.copy(C2, file)
    args = ["tiny", "--data", data[32, 3], "--result-dir", tmp_path / "r", *SHORT, "--init", file]
    train(*args)
    (run,) = run_dirs(tmp_path / "r")
    file.unlink()
    resume = ["--resume", "auto" if how == "auto" else run, "--total-kimg", 0.008]
    out = train(*([run / "config.json"] if how == "config.json" else args), *resume)
    assert "resuming at 0.004 kimg" in out.stdout and "init  " not in out.stdout
    assert run_dirs(tmp_path / "r") == [run] and newest_checkpoint(run)["progress"]["cur_nimg"] == 8
    assert newest_checkpoint(run)["config"]["init"] == [str(file)]


def test_two_processes_start_from_the_same(data, tmp_path):
    *_, one, _ = start(data[32, 3], tmp_path / "1", "--init", C2)
    *_, two, _ = start(data[32, 3], tmp_path / "2", "--init", C2, "--gpus", 2, "--micro-batch", 2)
    assert torch.equal(one["G"]["mapping.fc0.weight"], two["G"]["mapping.fc0.weight"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--init", DIS], "no generator to start from, only a discriminator"),
        (["--init", "nowhere.pkl"], "nowhere.pkl: no such file"),
        (["--init", "nowhere.pkl", "--resume", "auto"], "nowhere.pkl: no such file"),
        (["--init", GEN, C2], "with 3 label values, expected"),
        (["--init", C2, "--G.fmap-max", 8, "--G.w-dim", 8, "--G.mapping-fmaps", 8, "--G.z-dim", 8], "values of G fit"),
    ],
)
def test_what_cannot_be_is_one_line(data, tmp_path, args, message):
    out = train("tiny", "--data", data[32, 3], "--result-dir", tmp_path / "r", *args, check=False)
    assert out.returncode == 2 and message in out.stderr and out.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_config_json_with_another_file_takes_its_networks(tmp_path):
    train_config = tmp_path / "config.json"
    first = train_script.parse(["tiny", "--init", C2, "--G.mapping-layers", "3"])
    train_config.write_text(json.dumps(as_dict(first)))
    assert train_script.parse([str(train_config)]) == first
    other = train_script.parse([str(train_config), "--init", GEN])
    assert other.G.kind == "msg_progan" and other.D.features == 16


def test_discriminator_for_a_generator_alone_keeps_the_presets_options(tmp_path):
    cfg = train_script.parse(["progan-robohash", "--D.resolutions", "8", "--init", GEN])
    assert (cfg.D.features, cfg.D.resolutions) == (16, (8,))
    snapshot = tmp_path / "g.safetensors"
    net = load_network(C2)
    save_snapshot(snapshot, {"G": net.G}, net.spec, None)
    cfg = train_script.parse(["robohash", "--init", str(snapshot)])
    assert (cfg.D.fmap_base, cfg.D.fmap_max, cfg.D.mbstd_group_size) == (256, 32, 4)


def test_options_given_win_over_the_file():
    cfg = train_script.parse(["ffhq1024", "--init", C2, "--G.truncation-psi", "0.5", "--batch", "8"])
    assert (cfg.G.truncation_psi, cfg.G.z_dim, cfg.batch, cfg.resolution) == (0.5, 32, 8, 1024)
    assert GeneratorConfig() == train_script.parse(["ffhq1024"]).G


def test_old_run_dirs_are_started_from_and_counted_on(data, tmp_path):
    """The folder of an original run stands for its newest pickle, whose name tells how long it was trained."""
    old = tmp_path / "00006-sgan-old-8gpu"
    old.mkdir()
    shutil.copy(C2, old / "network-snapshot-000002.pkl")
    shutil.copy(C2, old / "network-snapshot-000006.pkl")
    args = ["tiny", "--data", data[32, 3], "--batch", 4, "--micro-batch", 4, "--tick-kimg", 0.004, "--save-code"]
    out = train(*args, "--init", old, "--init-kimg", "auto", "--total-kimg", 6.004, "--result-dir", tmp_path / "r")
    (run,) = run_dirs(tmp_path / "r")
    assert "starting at 6.000 kimg" in out.stdout
    assert json.loads((run / "config.json").read_text())["init"] == [str(old)]
    assert f"init      {old / 'network-snapshot-000006.pkl'}" in out.stdout
    assert (run / "32x32" / "fakes000006.000.png").exists()
    assert (run / "network-snapshot-000006.004.safetensors").exists()
    assert [json.loads(line)["kimg"] for line in (run / "stats.jsonl").read_text().splitlines()] == [6.004]
    with zipfile.ZipFile(run / "code.zip") as code:
        assert code.read("training/spec.py") == (ROOT / "training" / "spec.py").read_bytes()
        assert {"train.py", "constraints.txt", "training/networks/msg_stylegan.py"} <= set(code.namelist())

    # Numbers that make no sense, which leave no run dir.
    for options, message in (
        (["--init", BMSG / "GAN_GEN_1.pth", "--init-kimg", "auto"], "--init-kimg auto: "),
        (["--init", old, "--init-kimg", "auto", "--total-kimg", 5], "was trained for 6 kimg, expected fewer than"),
        (["--init-kimg", 3], "init_kimg: expected --init as well"),
        (["--init", old, "--init-kimg", 9, "--total-kimg", 8], "init_kimg: found 9.0, expected auto, or 0 to total"),
    ):
        processes = ["--gpus", 2, "--micro-batch", 2] if "expected fewer than" in message else []
        bad = train(*args, *options, *processes, "--result-dir", tmp_path / "bad", check=False)
        assert bad.returncode == 2 and message in bad.stderr, bad.stderr
        assert not (tmp_path / "bad").exists() or not run_dirs(tmp_path / "bad")
