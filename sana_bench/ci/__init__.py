"""Continuous integration: workflows for a repository, and what a run says in them. It renders records; it never decides."""
