"""What pyproject.toml cannot say: the folder `android_demo/` is a part of `export.deploy`."""

from setuptools import find_packages, setup

# Found at the top of a checkout, where people look for it, and installed beside what copies it.
PROJECT = {"export.deploy.android_demo": "android_demo"}
PACKAGES = find_packages(include=["kerascnn*", "training*", "export*"])

setup(packages=[*PACKAGES, *PROJECT], package_dir=PROJECT)
