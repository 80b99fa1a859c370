"""Text of others on a terminal: what would move its cursor, change its colours or turn its direction is written out."""

_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_WRITTEN_OUT = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{code: f"\\u{code:04x}" for code in _BIDI},
}
_BUT_LINES = {code: text for code, text in _WRITTEN_OUT.items() if chr(code) not in "\n\t"}
_IN_JSON = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_BIDI)}


def plain(text: str) -> str:
    """One line of it."""
    return text.translate(_WRITTEN_OUT)


def plain_lines(text: str) -> str:
    """Several lines of it."""
    return text.translate(_BUT_LINES)


def plain_json(text: str) -> str:
    """JSON, which says the same as before."""
    return text.translate(_IN_JSON)
