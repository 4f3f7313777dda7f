import pytest

from dnnlib.slurm_step import expand_counts, first_host, torch_environment

STEP = {
    "SLURM_JOB_ID": "123",
    "SLURM_STEP_ID": "4",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_TASKS_PER_NODE": "3(x2),1",
    "SLURM_STEP_NODELIST": "gpu[007-008,12]",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
}


def test_a_process_of_a_step_learns_what_torchrun_would_tell_it():
    assert torch_environment(STEP) == {
        "RANK": "4",
        "WORLD_SIZE": "7",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "3",
        "MASTER_ADDR": "gpu007",
        "MASTER_PORT": "22304",
    }
    assert torch_environment({**STEP, "SLURM_NODEID": "2"})["LOCAL_WORLD_SIZE"] == "1"


@pytest.mark.parametrize(
    "change", [{"SLURM_STEP_NUM_TASKS": "1"}, {"WORLD_SIZE": "2"}], ids=["one process", "torchrun inside"]
)
def test_other_processes_are_left_as_they_are(change):
    assert torch_environment(STEP | change) == {}
    assert torch_environment({"SLURM_JOB_ID": "123", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == {}, "a batch script"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("login,gpu[1-2]", "login"),
        ("gpu[007-010,12],login", "gpu007"),
        ("gpu[9,11-12]", "gpu9"),
        ("rack[2-3]-node,x", "rack2-node"),
        ("a-b.c", "a-b.c"),
    ],
)
def test_the_first_host_of_a_list(nodes, first):
    assert first_host(nodes) == first


@pytest.mark.parametrize(("text", "counts"), [("4", [4]), ("4(x2),3", [4, 4, 3]), ("1,2(x1)", [1, 2])])
def test_numbers_that_repeat(text, counts):
    assert expand_counts(text) == counts
