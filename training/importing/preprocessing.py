"""Stand-in."""

from kerascnn.preprocessing import Preprocessing


def named(name: str, height: int, width: int, channels: int) -> Preprocessing:
    """Of a name."""
    mean, std = {"0-1": (0.0, 255.0), "-1-1": (127.5, 127.5), "none": (0.0, 1.0)}[name]
    return Preprocessing(height=height, width=width, channels=channels, mean=mean, std=std)
