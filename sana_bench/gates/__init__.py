"""Gates: what must hold, from a file; whether it can be asked at all; and the pytest plugin that makes each gate a test.

The plugin is imported by every pytest of the environment, so nothing is imported here.
"""
