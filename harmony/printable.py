"""Text that others wrote, made safe to show on a terminal."""

import unicodedata


def printable(text: str) -> str:
    """Text that is safe on a terminal: control and direction characters are shown as their code points."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else _shown(c) for c in text
    )


def _shown(character: str) -> str:
    return "\u200d" if character == "\u200d" else f"<U+{ord(character):04X}>"
