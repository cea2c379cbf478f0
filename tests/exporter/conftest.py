from __future__ import annotations

import sys
from pathlib import Path

# For `user_modules` and `refused_modules`, whose classes stand beside the tests.
sys.path.insert(0, str(Path(__file__).parent))
