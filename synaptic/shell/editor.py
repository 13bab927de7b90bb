"""The line editor: prompt_toolkit, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.filters import Always
from prompt_toolkit.output import ColorDepth

from synaptic.commands.registry import Registry
from synaptic.shell.completer import CommandCompleter
from synaptic.shell.face import Face
from synaptic.shell.history import history_in
from synaptic.shell.keys import bindings
from synaptic.shell.lexer import CommandLexer
from synaptic.shell.toolbar import toolbar

if TYPE_CHECKING:
    from synaptic.session import Session

PROMPT = "synaptic> "


class InterruptError(Exception):
    """Ctrl-C. Not KeyboardInterrupt: it would leave a task through the event loop."""


def line_editor(session: Session, registry: Registry, face: Face) -> PromptSession[str]:
    encoding = getattr(session.environment.stdout, "encoding", None)
    editor: PromptSession[str] = PromptSession(
        PROMPT,
        multiline=True,  # Enter sends all the same: see keys
        lexer=CommandLexer(registry),
        completer=CommandCompleter(session, registry),
        complete_while_typing=True,
        reserve_space_for_menu=6,
        history=history_in(session.environment.state_dir),
        auto_suggest=AutoSuggestFromHistory(),
        search_ignore_case=True,
        enable_open_in_editor=True,
        tempfile_suffix=".md",
        enable_suspend=True,
        key_bindings=bindings(),
        bottom_toolbar=lambda: toolbar(session.snapshot(), encoding),
        interrupt_exception=InterruptError,
        include_default_pygments_style=False,
        color_depth=ColorDepth.DEPTH_1_BIT if face.plain else None,
    )
    # as an option of the session it would switch off completion while typing
    editor.default_buffer.enable_history_search = Always()
    editor.app.renderer.cpr_not_supported_callback = None  # a terminal that does not tell its cursor works too: no warning
    return editor
