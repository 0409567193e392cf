"""The PYTHONPATH of processes started by proofs: the project under test and the proofs."""

import os
from pathlib import Path

from tests.server import PROJECT

PYTHONPATH = os.pathsep.join([str(PROJECT), str(Path(__file__).parents[1])])
