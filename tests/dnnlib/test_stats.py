import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dnnlib import distributed
from dnnlib.sinks import read_stats
from dnnlib.stats import Averages, RunLog, format_time

CPU = torch.device("cpu")


def test_averages_are_means_over_all_values_added():
    averages = Averages(CPU)
    averages.add({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(5.0)})
    averages.add({"a": torch.tensor([6.0])})
    assert averages.take() == {"a": 3.0, "b": 5.0}
    assert averages.take() == {}


def test_averages_continue_exactly_from_their_state():
    values = torch.rand(7, dtype=torch.float32)
    whole, interrupted, resumed = Averages(CPU), Averages(CPU), Averages(CPU)
    for value in values:
        whole.add({"x": value})
    for value in values[:3]:
        interrupted.add({"x": value})

    resumed.load_state_dict(interrupted.state_dict())
    for value in values[3:]:
        resumed.add({"x": value})
    assert resumed.take() == whole.take()


def test_averages_of_another_number_of_processes_are_added_up():
    averages = Averages(CPU)
    averages.load_state_dict({"x": torch.tensor([[1.0, 1.0], [5.0, 2.0]], dtype=torch.float64)})
    assert averages.take() == {"x": 2.0}


def test_the_main_process_takes_all_sums_of_another_number_of_processes(monkeypatch):
    state = {"x": torch.tensor([[1.0, 1.0], [5.0, 2.0]], dtype=torch.float64)}
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    sums = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        averages = Averages(CPU)
        averages.load_state_dict(state)
        sums.append(averages.sums["x"].tolist())
    assert sums == [[6, 3], [0, 0], [0, 0]]


def test_each_process_takes_its_own_sums(monkeypatch):
    state = {"x": torch.tensor([[1.0, 1.0], [5.0, 2.0]], dtype=torch.float64)}
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    averages = Averages(CPU)
    averages.add({"old": torch.ones(1)})
    averages.load_state_dict(state)
    averages.add({"x": torch.tensor([4.0])})
    assert {name: total.tolist() for name, total in averages.sums.items()} == {"x": [9, 3]}
    assert state["x"].tolist() == [[1, 1], [5, 2]]


def test_run_log_drops_rows_past_the_point_of_resuming(tmp_path):
    log = RunLog(tmp_path, -1)
    for kimg in (1, 2, 3):
        log.write({"kimg": kimg, "loss": kimg * 0.5})
    log.line("hello")
    log.close()
    with open(tmp_path / "stats.jsonl", "a") as f:
        f.write('{"kimg": 4, "lo')  # the power went

    log = RunLog(tmp_path, 2)
    log.write({"kimg": 2.5, "loss": 9.0})
    log.close()
    assert [row["kimg"] for row in read_stats(tmp_path / "stats.jsonl")] == [1, 2, 2.5]
    assert (tmp_path / "log.txt").read_text() == "hello\n"
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("loss")][-1] == 2500
    assert json.loads((tmp_path / "stats.jsonl").read_text().splitlines()[-1])["loss"] == 9.0


def test_histograms_of_weights(tmp_path):
    network = torch.nn.Linear(3, 2)
    log = RunLog(tmp_path, -1)
    log.histograms({"G": network}, 0.5)
    log.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["histograms"]) == ["G/bias", "G/weight"]
    [histogram] = events.Histograms("G/weight")
    assert histogram.step == 500 and histogram.histogram_value.num == 6
    assert histogram.histogram_value.max == pytest.approx(network.weight.max().item())


def test_values_that_are_not_finite_are_left_out():
    averages = Averages(torch.device("cpu"))
    for value in (1.0, float("inf"), 3.0, float("nan")):
        averages.add_finite("x", torch.tensor(value))
    assert averages.take() == {"x": 2.0}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (45.4, "45s"), (59.4, "59s"), (200, "3m 20s"), (7510, "2h 05m 10s"), (101400, "1d 04h 10m")],
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text
