"""sana-bench: did this short fine-tune of Sana make humans better or worse, at 2K, where, and for whom?"""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing is sent anywhere
if os.environ.get("SANA_BENCH_OFFLINE") == "1":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # libraries that ask the hub by themselves do not know our variable
