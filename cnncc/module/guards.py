"""What keeps the headers of several modules apart that one program includes."""

from __future__ import annotations

import hashlib

NAMED_TWICE = "two modules are named alike (capitals aside): compile one of them with another --name"


def guarded(text: str, name: str, kind: str, claims: bool = True) -> str:
    """`text` between include guards; `kind` is H or HPP.

    The guard holds a hash of the text, so that only a second copy of the very same header is passed over. Were it made
    of the name alone, another header of that name would be passed over too, silently. With `claims` the header defines
    a macro of the module's name, in capitals as its other macros are; a header that finds it taken stops with an error.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    guard = f"CNNCC_{name}_{digest}_{kind}"
    claim = f"CNNCC_MODULE_{name.upper()}"
    refusal = f'#ifdef {claim}\n#error "{NAMED_TWICE}"\n#endif\n#define {claim}\n\n' if claims else ""
    first, rest = text.split("\n", 1)
    return f"{first}\n#ifndef {guard}\n#define {guard}\n\n{refusal}{rest.strip()}\n\n#endif\n"
