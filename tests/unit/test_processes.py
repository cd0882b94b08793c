"""Which of several processes this is, whether they can train together, and what is told where one of them fails."""

from __future__ import annotations

import json

import pytest

from sana_bench.config import load_config
from sana_bench.errors import ConfigError, DataError, SanaBenchError, TrainingError
from sana_bench.pipeline import train_and_eval
from sana_bench.processes import check_processes, is_main, started_together
from sana_bench.progress import progress, silent
from sana_bench.store import Store
from sana_bench.train import train
from sana_bench.train_config import TrainSection
from sana_bench.training import TRAINERS
from sana_bench.training.launch import FAILURE_FILES, LOG_FILE, check_devices, config_file, failure_of
from tests.micro import write_run


@pytest.fixture
def alone(monkeypatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def second_of_two(alone, monkeypatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)


def test_a_process_that_was_started_alone_is_the_main_one(alone):
    assert is_main() and not started_together()
    check_processes(TrainSection(num_processes=8))  # which will be started


def test_the_second_of_two_is_not_the_main_one(second_of_two):
    assert started_together() and not is_main()


def test_silent_progress_counts_and_shows_nothing(capsys):
    with silent(), progress("encode", 1) as tracker:
        tracker.advance()
    assert tracker.done == 1 and capsys.readouterr().err == ""


def test_a_recipe_for_another_number_of_processes_is_refused(second_of_two):
    check_processes(TrainSection(num_processes=2))
    with pytest.raises(ConfigError, match="started 2 process.*num_processes is 1.*--set train.num_processes=2"):
        check_processes(TrainSection())


def test_trainers_that_need_one_process_are_not_asked(second_of_two, micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)), ("train.trainer=none",))
    assert not TRAINERS.get("none").distributed and train(config, Store(config.run.store)).kind == "base"


def test_the_whole_benchmark_is_not_run_twice(second_of_two, micro, tmp_path):
    with pytest.raises(ConfigError, match="`sana-bench train-and-eval` runs in one: start it without the launcher"):
        train_and_eval(load_config(str(write_run(tmp_path, **micro)), ("train.num_processes=2",)))


def test_optimizers_that_cannot_be_cut_are_refused(alone):
    check_processes(TrainSection(num_processes=2, optimizer="came"))
    check_processes(TrainSection(strategy="fsdp2", optimizer="came"))  # one process: nothing is cut
    with pytest.raises(ConfigError, match='"came" cannot work on weights that are cut'):
        check_processes(TrainSection(num_processes=2, strategy="fsdp2", optimizer="came"))


def test_a_gpu_for_each_process(alone, monkeypatch):
    import torch

    check_devices(load_config("tiny", ("train.num_processes=2", "run.device=cpu")))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(load_config("tiny", ("train.num_processes=2", "run.device=cuda")))
    with pytest.raises(ConfigError, match="num_processes is 3, and this machine has 2 GPU"):
        check_devices(load_config("tiny", ("train.num_processes=3", "run.device=cuda")))
    with pytest.raises(ConfigError, match="all would share cuda:1"):
        check_devices(load_config("tiny", ("train.num_processes=2", "run.device=cuda:1")))


@pytest.mark.parametrize("strategy", TrainSection.model_fields["strategy"].annotation.__args__)
def test_every_strategy_has_a_config_that_accelerate_reads(strategy: str):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(config_file(strategy)))
    assert config.main_process_port == 0 and config.distributed_type.value in ("MULTI_GPU", "FSDP")


def _fail(work, process: int, time_ns: int, kind: str, message: str) -> None:
    (work / FAILURE_FILES.format(process)).write_text(json.dumps(
        {"process": str(process), "time_ns": time_ns, "kind": kind, "message": message, "traceback": "Traceback of it\n"}))


def test_the_first_to_fail_is_heard(tmp_path):
    _fail(tmp_path, 0, 20, "RuntimeError", "connection closed by peer")
    _fail(tmp_path, 1, 10, "DataError", "a.png is damaged")
    error = failure_of(tmp_path, 1)
    assert type(error) is DataError and str(error) == "a.png is damaged"


def test_a_process_that_is_killed_is_told_rather_than_what_the_others_lose_by_it(tmp_path):
    (tmp_path / LOG_FILE).write_text("Signal 15 (SIGTERM) received by PID 3\nSignal 9 (SIGKILL) received by PID 4")
    _fail(tmp_path, 0, 20, "RuntimeError", "connection closed by peer")
    assert "ended from outside (Signal 9 (SIGKILL))" in str(failure_of(tmp_path, 1))
    _fail(tmp_path, 1, 10, "TrainingError", "the loss is nan at step 3")  # and what hung was killed for it
    assert str(failure_of(tmp_path, 1)) == "the loss is nan at step 3"


def test_a_failure_that_is_nobodys_to_mend_comes_with_its_traceback(tmp_path, capsys):
    _fail(tmp_path, 1, 10, "OutOfMemoryError", "CUDA out of memory")
    error = failure_of(tmp_path, 1)
    assert type(error) is TrainingError and "process 1 failed: OutOfMemoryError: CUDA out of memory" in str(error)
    assert capsys.readouterr().err == "Traceback of it\n"


@pytest.mark.parametrize(("said", "told"), [("Signal 9 (SIGKILL) received by PID 4", "ended from outside (Signal 9 (SIGKILL))"),
                                            ("no such module", "none of them said why; accelerate's last lines:\nno such module")])
def test_processes_that_say_nothing(tmp_path, said: str, told: str):
    (tmp_path / LOG_FILE).write_text(said)
    error = failure_of(tmp_path, 1)
    assert isinstance(error, SanaBenchError) and told in str(error)
