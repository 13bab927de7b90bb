"""
Where the files are that come with the program and are not code.

    in a checkout           config/…                        dashboard/…
    in an installed wheel   synaptic/_shipped/config/…      synaptic/_shipped/dashboard/…      (see setup.py)
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(*parts: str) -> Path:
    """A file or folder below `config/`. It need not exist."""
    return _folder("config").joinpath(*parts)


def page(*parts: str) -> Path:
    """A file or folder below `dashboard/`. It need not exist."""
    return _folder("dashboard").joinpath(*parts)


def _folder(name: str) -> Path:
    installed = _PACKAGE / "_shipped"  # asked first: beside an installed package lie strangers, perhaps one called config
    return (installed if installed.is_dir() else _PACKAGE.parent) / name
