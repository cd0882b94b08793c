"""GitHub workflows read and played on this machine, as far as ours need it: conditions of jobs and steps, and what their shell blocks do."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

CONTEXT = re.compile(r"(?<![\w.'])(?:github|steps|needs|env|runner|secrets)(?:\.[\w*-]+)+")


def load(text: str) -> dict:
    """A workflow; YAML 1.1 reads the key `on` as true."""
    document = yaml.safe_load(text)
    return {("on" if key is True else key): value for key, value in document.items()}


def strings(value: object) -> Iterator[str]:
    """Every text in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from strings(each)


def lookup(path: str, context: Mapping) -> object:
    """`github.event.action`; what is not there is null, and `labels.*.name` the names of all."""
    value: object = context
    for part in path.split("."):
        if part == "*":
            continue
        if isinstance(value, list):
            value = [each.get(part) for each in value]
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def holds(condition: str, context: Mapping) -> bool:
    """The value of an `if`, in the part of GitHub's language that our workflows use."""
    text = re.sub(r"^\$\{\{|\}\}$", "", condition.strip())
    text = CONTEXT.sub(lambda match: repr("" if (value := lookup(match[0], context)) is None else value), text)  # null equals the empty text
    text = text.replace("&&", " and ").replace("||", " or ").replace("!cancelled()", "True").replace("always()", "True")
    text = re.sub(r"\bcontains\(", "_contains(", text)
    assert not re.search(r"!(?!=)", text), f"not understood: {text}"
    return bool(eval(text, {"__builtins__": {}, "_contains": lambda many, one: one in (many or [])}))  # a file of our own


@dataclass
class Played:
    """What came of a job."""

    ran: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    summary: str = ""
    log: str = ""


def play(job: Mapping, folder: Path, environment: Mapping[str, str], context: Mapping, leave_out: Sequence[str] = ()) -> Played:
    """Run the shell blocks of a job in a folder, as GitHub's runner does: a step after a failed one runs only where its `if` asks for the status."""
    played, summary, temporary = Played(), folder / "summary.md", folder.with_name(f"{folder.name}-runner")
    summary.touch()
    temporary.mkdir(exist_ok=True)
    for step in job["steps"]:
        name, condition = step.get("name", step.get("uses", "")), step.get("if", "")
        now = {**context, "steps": {key: {"outputs": value} for key, value in played.outputs.items()}}
        wanted = holds(condition, now) if condition else True
        if "run" not in step or name in leave_out or not wanted or (played.failed and not re.search(r"cancelled\(\)|always\(\)", condition)):
            continue
        output = folder / "output"
        output.write_text("")
        variables = {key: re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(lookup(match[1].strip(), now) or ""), str(value))
                     for key, value in {**job.get("env", {}), **step.get("env", {})}.items()}
        done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=folder, capture_output=True, text=True, check=False,
                              env={**os.environ, **environment, **variables, "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary),
                                   "RUNNER_TEMP": str(temporary)})
        played.ran.append(name)
        played.log += done.stdout + done.stderr
        if "id" in step:
            played.outputs[step["id"]] = dict(line.split("=", 1) for line in output.read_text().splitlines())
        if done.returncode:
            played.failed.append(name)
    played.summary = summary.read_text()
    return played
