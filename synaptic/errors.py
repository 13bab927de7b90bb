"""
What can go wrong, and what the user is told.

    SynapticError            exit 1   kind "failed"
    ├── UsageError           exit 2   kind "usage"     the line did not parse
    ├── BackendError         exit 3   kind "backend"   a worker or server did not answer as it should
    └── EngineError          exit 4   kind "engine"    nothing could produce the tokens

An interrupted command exits with 130 (128 + SIGINT).
"""

from __future__ import annotations

INTERRUPTED = 130


class SynapticError(Exception):
    """Something the user can act on. `hint` says how; `details` are the last words of whatever failed."""

    exit_code = 1
    kind = "failed"

    def __init__(self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.details = details

    def as_json(self) -> dict[str, object]:
        return {"error": {"kind": self.kind, "message": str(self), "hint": self.hint}}


class UsageError(SynapticError):
    """`prefill` is a line the shell offers next, so that one Enter does what was probably meant. `lacks`: the line is right, so far."""

    exit_code = 2
    kind = "usage"

    def __init__(self, message: str, *, hint: str | None = None, prefill: str | None = None, lacks: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.prefill = prefill
        self.lacks = lacks


class BackendError(SynapticError):
    exit_code = 3
    kind = "backend"


class EngineError(SynapticError):
    exit_code = 4
    kind = "engine"


class RefusedError(EngineError):
    """The server is well; it is this request that it will not do."""


def os_reason(error: OSError) -> str:
    """What the system says went wrong, as it stands within a sentence: `no space left on device`."""
    said = error.strerror or str(error) or "no reason given"
    return said[:1].lower() + said[1:]


def unwritten(path: object, error: OSError) -> SynapticError:
    """A file or folder that takes nothing."""
    return SynapticError(f"cannot write {path}: {os_reason(error)}", hint="is the disk full, or the folder not yours? see: doctor")
