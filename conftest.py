"""What every test process has, and every kernel that it starts: threads as in a run's kernels, no network.

This file serves tests/ and, for ``pytest --nbval-lax notebooks``, notebooks/.
"""

import os

from emolib import threads

# before numpy and torch are loaded: results depend on no machine's number of cores
os.environ.update(threads.environment())
os.environ.setdefault("HF_HUB_OFFLINE", "1")
