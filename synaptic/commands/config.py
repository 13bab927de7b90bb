"""config: the settings, and where each of them comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import AnyNumber, Complete, Completion
from synaptic.commands.registry import registry
from synaptic.events import SettingChanged
from synaptic.results import Cell, Json, Note, Rows
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.session import Session
    from synaptic.settings import Settings
    from synaptic.settings.values import Entry


def keys(session: Session) -> list[Completion]:
    return [(entry.key, _shown(entry.value)) for entry in session.settings.rows()]


@registry.command("config show", group="settings")
async def show(session: Session) -> Rows[Entry]:
    """Show every setting and where its value comes from: a flag, the environment, the file or the default.

        config show
        config show --json

    See also: config set, config path
    """
    return Rows(
        key="settings",
        items=session.settings.rows(),
        columns={
            "setting": lambda entry: entry.key,
            "value": lambda entry: _shown(entry.value),
            "from": lambda entry: Cell(entry.layer.value, "dim" if entry.layer.value == "default" else ""),
            "note": lambda entry: Cell(entry.note, "dim"),
        },
        data={"path": session.settings.path},
    )


@registry.command("config set", group="settings")
async def set_(session: Session, key: Annotated[str, Complete(keys)], *value: str) -> Note:
    """Change a setting and save it. `default` or `none` brings the default back.

        config set context 8192
        config set models_dirs ~/models
        config set system_prompt answer in one sentence
        config set temperature default

    See also: config show, config reset
    """
    chosen = session.settings.parse(key, " ".join(value))
    warned = len(session.settings.warnings)
    await asyncio.to_thread(lambda: session.settings.save(**{key: chosen}))
    _publish(session, [key])
    entry = next(entry for entry in session.settings.rows() if entry.key == key)
    text = f"{key} is {_shown(entry.value)}" + (" (the default)" if entry.layer.value == "default" else "")
    return Note(
        text,
        {"key": key, "value": entry.value, "from": entry.layer.value, "saved": session.settings.is_saved},
        hint=_hint(session.settings, warned),
    )


@registry.command("config reset", group="settings")
async def reset(session: Session, *key: Annotated[str, AnyNumber(), Complete(keys)]) -> Note:
    """Forget settings; without a key, all of them. The version before stays as a backup.

        config reset temperature seed
        config reset

    See also: config show, config set
    """
    if not key and not await session.confirm("forget all settings?"):
        return Note("nothing changed", {"reset": []})
    before = {entry.key: entry.value for entry in session.settings.rows()}
    warned = len(session.settings.warnings)
    await asyncio.to_thread(session.settings.reset, *key)
    changed = [entry.key for entry in session.settings.rows() if entry.value != before[entry.key]]
    _publish(session, changed)
    text = f"back to the default: {', '.join(changed)}" if changed else "nothing to bring back: these are the defaults"
    return Note(text, {"reset": changed}, hint=_hint(session.settings, warned) or _way_back(session.settings, changed))


@registry.command("config path", group="settings")
async def path(session: Session) -> Note:
    """Show where the settings are saved.

    See also: config show
    """
    found = session.settings.path
    text = str(found) if found else "there is no home folder: the settings live in memory only"
    return Note(text, {"path": found})


def _publish(session: Session, changed: Sequence[str]) -> None:
    for key in changed:
        session.bus.publish(SettingChanged(key=key, value=getattr(session.settings.now, key)))


def _hint(settings: Settings, warned: int) -> str | None:
    """What this save had to say beside its result."""
    if len(settings.warnings) > warned:
        return settings.warnings[-1]
    return None if settings.is_saved else "not saved: this lasts until you leave"


def _way_back(settings: Settings, changed: Sequence[str]) -> str | None:
    return f"the settings before are in {settings.backup}" if changed and settings.backup else None


def _shown(value: Json) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(one_line(str(each), 60) for each in value) or "–"
    return "–" if value is None else one_line(f"{value:g}" if isinstance(value, float) else str(value), 60)
