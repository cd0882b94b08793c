"""`python -m sana_bench` is `sana-bench`."""

import sys

from sana_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
