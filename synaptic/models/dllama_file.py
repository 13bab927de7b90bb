"""Models of distributed-llama, `.m`, told apart from everything else of that ending."""

from __future__ import annotations

from pathlib import Path

from synaptic.dllama.header import DllamaHeader, NotAModelError, read_header
from synaptic.errors import EngineError, os_reason
from synaptic.models.gguf_source import refusal, shown


def is_dllama(path: Path) -> bool:
    return path.suffix.lower() == ".m"


def read_dllama(path: Path) -> DllamaHeader:
    """Blocks on the disk. EngineError: one sentence that names the file and the cause."""
    try:
        return read_header(path)
    except NotAModelError as error:
        raise refusal(path, str(error)) from error
    except FileNotFoundError as error:
        raise EngineError(f"there is no file {shown(path)}", hint="try: model list") from error
    except (OSError, ValueError) as error:
        cause = os_reason(error) if isinstance(error, OSError) else "its name is none a file can have"
        raise refusal(path, f"cannot be read: {cause}") from error
