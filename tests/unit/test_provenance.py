"""Where a result comes from."""

from __future__ import annotations

import subprocess

from sana_bench import provenance


def commit_of(folder) -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_an_installed_sana_bench_records_the_repository_that_it_is_run_in(tmp_path, monkeypatch):
    """Which has a changed file later on, which what a run writes beside it is not; and outside of one there is no commit."""
    repository, outside = tmp_path / "repository", tmp_path / "outside"
    outside.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "site-packages" / "sana_bench")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    subprocess.run(["git", "init", "-q", repository], check=True)
    (repository / "recipe.toml").write_text("")
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"], cwd=repository, check=True)
    monkeypatch.chdir(repository)
    found = provenance.collect_provenance("cpu", {})
    assert (found.commit, found.dirty) == (commit_of(repository), False)
    (repository / "outcome.json").write_text("{}")
    assert not provenance.collect_provenance("cpu", {}).dirty
    (repository / "recipe.toml").write_text("changed")
    assert provenance.collect_provenance("cpu", {}).dirty
    monkeypatch.chdir(outside)
    assert (provenance.collect_provenance("cpu", {}).commit, provenance.collect_provenance("cpu", {}).dirty) == ("", False)


def test_it_says_whose_commit_it_is(tmp_path, monkeypatch):
    """Of a checkout of sana-bench, sana-bench's own; of an installed one, that of the project it is run in."""
    checkout, project = tmp_path / "checkout", tmp_path / "project"
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for repository in (checkout, project):
        subprocess.run(["git", "init", "-q", repository], check=True)
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", repository.name], cwd=repository, check=True)
    monkeypatch.chdir(project)
    for package, whose, where in ((checkout, "sana-bench", checkout), (tmp_path / "site-packages", "project", project)):
        monkeypatch.setattr(provenance, "PACKAGE", package / "sana_bench")
        found = provenance.collect_provenance("cpu", {})
        assert (found.commit_of, found.commit) == (whose, commit_of(where))
