"""sana-bench: did this short fine-tune of Sana make humans better or worse, at 2K, where, and for whom?"""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing is sent anywhere
