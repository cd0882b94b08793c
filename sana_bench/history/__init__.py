"""Many results: each metric by commit, where it changed, and a table to ask. It reads results and never judges a run."""
