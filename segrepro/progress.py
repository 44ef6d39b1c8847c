"""Whether progress bars are shown: `SEGREPRO_PROGRESS=0` in the environment turns every bar off."""

import os

SHOW_PROGRESS = os.environ.get("SEGREPRO_PROGRESS", "1") != "0"
