"""Product rows as no shop should deliver them: a seed makes one, the same every time."""

import random
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

Random = random.Random


class MutatedRow(NamedTuple):
    """A row and how it came about. Of a wrong type may be any field but the id."""

    kind: str
    product_id: str
    title: Any
    description: Any
    image_path: Any


def mutated_row(seed: int) -> MutatedRow:
    """Returns the row of a seed; ids are as mutated as the rest, and unique."""
    chance = Random(seed)
    kinds = list(_VALUES)
    kind = kinds[seed % len(kinds)]
    value = _VALUES[kind]
    sound = "red striped shirt of cotton"
    fields = [
        value(chance) if chance.random() < 0.7 else chance.choice((sound, None)) for _ in "tdi"
    ]
    product_id = f"{seed}"
    if chance.random() < 0.3 and isinstance(more := value(chance), str):
        product_id += more[:200]
    return MutatedRow(kind, product_id, *fields)


def _characters(*ranges: tuple[int, int]) -> Callable[[Random], str]:
    def text(chance: Random) -> str:
        chosen = [chance.choice(ranges) for _ in range(chance.choice((1, 8, 60, 400)))]
        return "".join(chr(chance.randint(first, last)) for first, last in chosen)

    return text


def _words(chance: Random, *, joined: str = " ") -> str:
    words = ("red", "blue", "shirt", "dress", "plain", "cotton", "striped", "shoe")
    return joined.join(chance.choice(words) for _ in range(chance.randint(1, 30)))


def _sprinkled(ranges: tuple[tuple[int, int], ...]) -> Callable[[Random], str]:
    noise = _characters(*ranges)
    return lambda chance: "".join(f"{word}{noise(chance)[:3]}" for word in _words(chance).split())


def _huge(chance: Random) -> str:
    part = chance.choice(
        (
            "x",
            "x ",
            " ",
            "\n",
            "\u0301\u0323",
            "\ufdfa",
            "\U0001f525",
            "\0",
            "1",
            "\ud800",
            "!",
            "\u202e",
        )
    )
    return part * (chance.choice((20_000, 400_000, 3_000_000)) // len(part))


def _accents(chance: Random) -> str:
    marks = [chr(code) for code in range(0x300, 0x370)]
    return "a" + "".join(chance.choice(marks) for _ in range(chance.choice((50, 9_000))))


def _markup(chance: Random) -> str:
    return chance.choice(
        (
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "'; DROP TABLE product_attributes; --",
            "{{7*7}}${7*7}<%= 7*7 %>",
            "%s%n%x%p",
            "$(reboot) `reboot` | reboot",
            "\x1b]0;title\x07\x1b[2J\x1b[31m",
            "=HYPERLINK(1)",
            "\\u0000\\ud800",
            "NaN",
            "null",
            "\ufeffid,title\r\n1,2",
            '"quoted", "twice""',
            "a\tb\rc\nd\x0be\x0cf\x85g\u2028h\u2029i",
        )
    )


def _path(chance: Random) -> str:
    return chance.choice(
        (
            "../" * chance.randint(1, 40) + "etc/passwd",
            "/etc/passwd",
            "/dev/zero",
            "/dev/stdin",
            "/proc/self/environ",
            "/proc/self/fd/0",
            "file:///etc/passwd",
            "file://169.254.169.254/latest",
            "http://169.254.169.254/latest/meta-data",
            "https://user:hush@example.org/x.jpg",
            "s3://user:hush@shop/x.jpg",
            "s3://shop/x.jpg?endpoint_override=169.254.169.254",
            "hdfs://169.254.169.254/x.jpg",
            "%2e%2e/%2e%2e/etc/passwd",
            "..%2f..%2fetc/passwd",
            "..\\..\\etc\\passwd",
            "a/" * 8_000,
            "x" * 300,
            "\0",
            "x.jpg\0.png",
            "~root/x.jpg",
            "://",
            "a://b://c",
            "gs://",
            "//host/share",
            ".",
            "..",
            "C:\\x.jpg",
            "data:image/png;base64,AAAA",
        )
    )


def _wrong_type(chance: Random) -> Any:
    return chance.choice(
        (0, -1, 2**70, 3.5, float("nan"), float("inf"), True, b"bytes", [], ["a"], {"a": 1}, ())
    )


_BIDI = ((0x202A, 0x202E), (0x2066, 0x2069), (0x200B, 0x200F))
_VALUES: dict[str, Callable[[Random], Any]] = {
    "null": lambda chance: None,
    "empty": lambda chance: chance.choice(("", " ", "\t\n", "\u00a0\u200b", "\u3000" * 50)),
    "huge": _huge,
    "control characters": _sprinkled(((0, 0x1F), (0x7F, 0x9F))),
    "right to left": _characters((0x5D0, 0x5EA), (0x627, 0x64A), (0x20, 0x20)),
    "direction marks": _sprinkled(_BIDI),
    "emoji": _characters((0x1F300, 0x1FAFF), (0x200D, 0x200D), (0xFE0F, 0xFE0F), (0x20, 0x20)),
    "lone surrogates": _sprinkled(((0xD800, 0xDFFF),)),
    "other scripts": _characters((0x900, 0x97F), (0xAC00, 0xD7A3), (0x4E00, 0x9FFF), (0x20, 0x20)),
    "private and unassigned": _characters((0xE000, 0xF8FF), (0x378, 0x379), (0xFFFE, 0xFFFF)),
    "any character": _characters((0, 0xD7FF), (0xE000, 0x10FFFF)),
    "accents": _accents,
    "compatible writings": _characters((0xFB00, 0xFB06), (0xFF01, 0xFF5E), (0xFDFA, 0xFDFB)),
    "markup": _markup,
    "path": _path,
    "wrong type": _wrong_type,
    "sound": _words,
}


def is_sound_text(text: str) -> bool:
    """Returns whether a text holds neither control nor surrogate characters, and can be encoded."""
    return all(unicodedata.category(character)[0] != "C" for character in text)
