"""What a file holds that cannot be read as a network, in words (pure)."""

# What files begin with that are taken for networks, by name or by a download that went wrong.
_BEGINNINGS = (
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself, such as with: git lfs pull"),
    (b"<!DOCTYPE", "a web page; download the file itself"),
    (b"<html", "a web page; download the file itself"),
    (b"PK\x03\x04", "a ZIP archive, as PyTorch's and Keras's files are; unpack it, or export the model"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras's old files are; export the model"),
    (b"\x80\x02", "a pickle, as PyTorch's old files are; export the model"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
)
_TFLITE = b"TFL3"


def describe_content(content: bytes) -> str | None:
    """Says what a file holds that is no whole network.

    Args:
        content: The whole file.

    Returns:
        What follows "it is", with what to do; None where that cannot be told.
    """
    if not content:
        return "empty; fetch or export the model anew"
    for beginning, words in _BEGINNINGS:
        if content[: len(beginning)].lower() == beginning.lower():
            return words
    if _is_text(content[:1000]):
        return "text; give the model's own file"
    if content[4:8] == _TFLITE:
        # Tables that point into each other: nothing at the top says where the file ends.
        return None
    missing = _missing_bytes(content)
    return f"cut off, at least {missing:,} bytes are missing; fetch or export it anew" if missing else None


def _is_text(beginning: bytes) -> bool:
    # The last character may be cut.
    text = beginning.decode("utf-8", errors="ignore")
    return len(text.encode()) >= len(beginning) - 3 and all(
        sign.isprintable() or sign.isspace() for sign in text
    )


def _missing_bytes(content: bytes) -> int:
    """How many bytes a protobuf message, as ONNX's and TensorFlow's files are, lacks at its end.

    Returns:
        0 where the message ends with the file, and where the file holds no such message.
    """
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        match key & 7:
            case 0:
                _, place = _varint(content, place)
            case 1:
                place += 8
            case 2:
                length, place = _varint(content, place)
                place += length
            case 5:
                place += 4
            case _:
                return 0
    return place - len(content)


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number, and where the next one begins."""
    number = shift = 0
    while place < len(content):
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128 or shift > 63:
            break
    return number, place
