"""What a client asks for, whichever API it speaks."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum

from synaptic.engines.engine import Message, Request
from synaptic.errors import UsageError
from synaptic.results import Json
from synaptic.web.gateway.body import Body

ROLES = ("system", "user", "assistant", "tool")


class Deed(enum.Enum):
    ANSWER = "answer"
    LOAD = "load"  # only have the model ready
    UNLOAD = "unload"


@dataclasses.dataclass(frozen=True)
class Asked:
    """`like` holds everything but the messages. `has_usage`: the stream shall end with what it took."""

    model: str
    messages: tuple[Message, ...]
    like: Request
    stream: bool
    has_usage: bool = True
    deed: Deed = Deed.ANSWER


def image(data: str, what: str) -> str:
    """Base64, as it stands; UsageError when it is none."""
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{what} is no base64") from None
    return data


def tools(body: Body) -> Json:
    """Both APIs list them alike."""
    for tool in body.objects("tools"):
        tool.object("function").needed("name")
    return body.raw("tools") or None
