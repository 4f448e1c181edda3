"""From random weights on a user's own pictures of several labels each.

Command:  kerascnn train mobilenet_v2 --data labels.csv
Hardware, time and score: not yet run.

As `scratch`; a label is there or not, so that nothing is smoothed.
"""

import dataclasses

from training.recipes import scratch

RECIPE = dataclasses.replace(
    scratch.RECIPE,
    task="multilabel",
    config=dataclasses.replace(scratch.RECIPE.config, label_smoothing=0.0),
)
