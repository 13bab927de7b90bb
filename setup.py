"""The one thing pyproject.toml cannot say: folders beside the package travel inside it (see synaptic/shipped.py)."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

SHIPPED = {f"synaptic._shipped.{name}": name for name in ("config", "dashboard") if Path(name).is_dir()}

setup(
    packages=[*find_namespace_packages(include=["synaptic", "synaptic.*"], exclude=["*.__pycache__*"]), *SHIPPED],
    package_dir=SHIPPED,
    package_data={package: ["**/*"] for package in SHIPPED},
)
