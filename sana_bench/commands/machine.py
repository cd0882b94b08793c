"""What this machine can run."""

from __future__ import annotations

from dataclasses import asdict

from sana_bench.commands import ERROR, LOOK, PASSED, command
from sana_bench.commands.settings import config_arguments, config_of
from sana_bench.console import Reply, Table
from sana_bench.usage import Arguments


@command("doctor", LOOK, config_arguments, "sana-bench doctor", "sana-bench doctor --config sana_1600m_2k_lora")
def run_doctor(arguments: Arguments) -> Reply:
    """say what this machine can run, what is missing, and how to get it

    Python, packages, device, memory, disk, assets, network flag and git. Exit code 0 where the recipe can run, 2 where not.
    """
    from sana_bench.doctor import examine

    diagnosis = examine(config_of(arguments))
    text = [Table(("", "what", "found"), [(each.state, each.name, each.found) for each in diagnosis.checks]),
            *(f"{each.name}: {each.remedy}" for each in diagnosis.checks if each.remedy), diagnosis.verdict]
    return Reply({"ready": diagnosis.ready, "checks": [asdict(each) for each in diagnosis.checks]}, text,
                 PASSED if diagnosis.ready else ERROR)
