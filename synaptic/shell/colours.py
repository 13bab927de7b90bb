"""
The shell's colours: numbers of the 256-colour palette, that stand out from black as from white. The sixteen that have names
differ from terminal to terminal, and its green, yellow and cyan are hardly there on white, its blue hardly on black.
"""

from __future__ import annotations

GREEN, AMBER, RED, TEAL, MAUVE = (f"color({number})" for number in (28, 130, 196, 30, 133))
ATTENTION = "#af5f00"  # amber, as prompt_toolkit calls it
THEME = {
    "markdown.code": f"bold {TEAL}",  # rich's own has a black ground, a patch on a white terminal
    "markdown.item.number": "bold",
    "markdown.table.header": "bold",
    "markdown.table.border": "dim",
    "markdown.link": "bold",
    "markdown.link_url": "underline",
    "markdown.block_quote": MAUVE,
    "markdown.h2": f"underline {MAUVE}",
    "markdown.h3": f"bold {MAUVE}",
    "markdown.h4": f"italic {MAUVE}",
}
