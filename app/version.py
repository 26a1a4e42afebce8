"""The version of the installed package; pyproject.toml is the one place that states it."""

from importlib.metadata import version

VERSION = version("adserver")
