"""From ImageNet weights on a user's own pictures of several labels each: a probe first.

Command:  kerascnn train efficientnet_lite0 --weights imagenet --data labels.csv
Hardware, time and score: not yet run.

As `finetune`; a label is there or not, so that nothing is smoothed.
"""

import dataclasses

from training.recipes import finetune

RECIPE = dataclasses.replace(
    finetune.RECIPE,
    task="multilabel",
    config=dataclasses.replace(finetune.RECIPE.config, label_smoothing=0.0),
)
