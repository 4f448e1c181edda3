"""Images that are far louder than most, which must not decide for all of them.

A network with squeeze-and-excitation multiplies what it has made by what it has made, block after
block: of 200 images of one training set, two had activations in MobileNetV3-Small's last stages
that were fifty times as large as those of the others. Ranges that held them, or had the least
squared error over all images, left six of 256 steps to everyone else, and a bias that was corrected
for them was wrong for everyone else. Wherever calibration images are summed up, those of more than
sixteen times the median's energy therefore count less, and the less, the louder they are: what all
decide is what ordinary ones decide. (In EfficientNet-Lite0 with ImageNet's weights no photo is one.
From four times on, MobileNetV3-Small's int8 file gained 1 dB more.)
"""

from __future__ import annotations

import numpy as np

_USUAL = 16.0  # energies of the median: four times as loud
_ORDINARY = 1 / 16  # weight of eight times as loud


def weights_of_images(x: np.ndarray) -> np.ndarray:
    """(n,) float64 weights of (n, ...) images, 1 up to sixteen times the median energy.

    Above it they fall with the square of the energy, so that what squares of a very loud image are
    multiplied by makes them next to nothing. All are 1 where half of the images are zeros: nothing
    says then what is usual.
    """
    rows = x.reshape(len(x), -1)
    energies = np.array([np.vdot(one, one) for one in rows], np.float64)
    usual = _USUAL * float(np.median(energies))
    return np.ones(len(x)) if usual <= 0 else np.square(usual / np.maximum(energies, usual))


def are_ordinary(weights: np.ndarray) -> np.ndarray:
    """(n,) bool: whether images are hardly louder than most, by their weights."""
    found: np.ndarray = weights >= _ORDINARY
    return found
