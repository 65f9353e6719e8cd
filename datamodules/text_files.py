"""Text files as people have them: UTF-8, or what Windows calls Unicode."""

import codecs
from pathlib import Path

# The longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; without the mark.

    Raises:
        ValueError: another encoding; names the most likely one and how to convert the file.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and (guess := _without_mark(content)):
        raise ValueError(
            f"{path} looks like UTF-16 without a byte order mark (each second "
            f"byte is a control character); convert it: iconv -f {guess} -t utf-8 '{path}' > "
            f"utf8{path.suffix}"
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ValueError(
                f"{path} begins as {encoding.upper()} and is damaged at byte {error.start}; save "
                "it as UTF-8"
            ) from error
        # No other encoding has bytes that are 0; in UTF-16 blanks and line ends have one.
        likely = "utf-16le" if 0 in content else "latin1"
        raise ValueError(
            f"{path} is not UTF-8 (byte {error.start} is {content[error.start]:#04x}); save it as "
            f"UTF-8, or convert it from the encoding that it has, for example: iconv -f {likely} "
            f"-t utf-8 '{path}' > utf8{path.suffix}"
        ) from error


def unix_lines(text: str) -> str:
    """The text with ``\\n`` at the end of each line, whichever system wrote it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_mark(content: bytes) -> str | None:
    """Mostly valid UTF-8, where each second byte, the high one, is a control character."""
    low, high = (_control(content[start::2]) for start in (0, 1))
    if high > 0.7 and low < 0.2:
        return "utf-16le"
    return "utf-16be" if low > 0.7 and high < 0.2 else None


def _control(content: bytes) -> float:
    """Share of the bytes below 32 that are no tab and no line end."""
    rest = content.translate(None, bytes({*range(32)} - {*b"\t\n\r"}))
    return 1 - len(rest) / len(content) if content else 0.0
