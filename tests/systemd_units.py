"""Units where systemd can look at them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from synaptic.deploy.files.file import File


def on_disk(files: Mapping[str, File], name: str, folder: Path) -> Path:
    """The unit with programs that are there: verify wants to see them."""
    programs = folder / "bin"
    programs.mkdir()
    text = re.sub(r"/usr/local/bin|/opt/vllm/bin", str(programs), files[name].text)
    for program in set(re.findall(rf"{programs}/([\w-]+)", text)):
        (programs / program).write_text("#!/bin/sh\n")
        (programs / program).chmod(0o755)
    path = folder / Path(name).name
    path.write_text(text)
    sibling = path.with_suffix(".service")
    if path.suffix == ".timer":
        sibling.write_text("[Service]\nExecStart=/bin/true\n")
    return path
