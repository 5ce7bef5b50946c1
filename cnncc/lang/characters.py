"""Characters that look like those of the language but are others."""

from __future__ import annotations

import unicodedata

ALIKE = {
    **dict.fromkeys("\u00d7\u2715\u2716\u2a2f\u0445\u0425\u2a09", "x"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2018\u2019\u201a\u00b4`'", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **dict.fromkeys("\u2215\u2044\u00f7", "/"),
    **dict(zip("\u0430\u0435\u043e\u0440\u0441\u0443\u0456\u043c\u0442", "aeopcyimt", strict=True)),
}
"""Characters that word processors and other keyboards write, and the character of the language that is meant."""


def character_hint(character: str) -> str:
    """The hint for a character that is not in the language: what to type instead."""
    if unicodedata.category(character) in ("Zs", "Cf") and character != " ":
        return f"{named(character)} is invisible here and no space: type a plain space, or remove it"
    plain = ALIKE.get(character) or unicodedata.normalize("NFKC", character)
    if plain == character or not plain.isascii():
        return "" if character.isascii() else f"{named(character)}: names with such letters stand in quotes"
    like = "" if character.isascii() else f"{named(character)} looks like {plain}, and is not: "
    return f"{like}type {plain}"


def named(character: str) -> str:
    """Its name in Unicode, in lower case."""
    return unicodedata.name(character, f"U+{ord(character):04X}").lower()
