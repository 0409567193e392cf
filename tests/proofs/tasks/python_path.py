"""Where the processes that a proof starts find the project under test, and these modules."""

import os
from pathlib import Path

from tests.server import PROJECT

PYTHONPATH = os.pathsep.join([str(PROJECT), str(Path(__file__).parents[1])])
