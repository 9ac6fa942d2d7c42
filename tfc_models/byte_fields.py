"""Binary fields of files: unsigned and signed varints, byte strings and texts.

Varints are little-endian groups of seven bits. This module needs neither TensorFlow nor NumPy.
"""

from __future__ import annotations

LARGEST_VARINT_BYTES = 10


class DamagedFileError(ValueError):
    """Raised if fields cannot be read. The message states why in one line."""


class FieldWriter:
    """Collects fields and returns them as bytes."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def unsigned(self, value: int) -> None:
        """Appends an integer of at least 0 as a varint."""
        if value < 0:
            raise ValueError(f"an unsigned field must be at least 0; got {value}.")
        while value > 127:
            self._parts.append(value & 127 | 128)
            value >>= 7
        self._parts.append(value)

    def signed(self, value: int) -> None:
        """Appends an integer of either sign as a varint; 0, -1, 1, -2, … become 0, 1, 2, 3, …."""
        self.unsigned(2 * value if value >= 0 else -2 * value - 1)

    def raw(self, data: bytes) -> None:
        """Appends bytes whose length the reader knows."""
        self._parts += data

    def sized(self, data: bytes) -> None:
        """Appends bytes after their length."""
        self.unsigned(len(data))
        self.raw(data)

    def text(self, value: str) -> None:
        """Appends a text after its length."""
        self.sized(value.encode())

    def finish(self) -> bytes:
        """Returns all fields."""
        return bytes(self._parts)


class FieldReader:
    """Reads fields in the order in which they were written.

    Every method raises `DamagedFileError` if the data ends before the field does.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.position = 0

    @property
    def remaining(self) -> int:
        """Number of bytes after the last field that was read."""
        return len(self._data) - self.position

    def unsigned(self, largest: int = 2**63 - 1) -> int:
        """Returns an unsigned varint of at most `largest`."""
        value, data, start = 0, self._data, self.position
        for i in range(LARGEST_VARINT_BYTES):
            if start + i >= len(data):
                raise DamagedFileError(f"damaged: cut short after {len(data)} bytes.")
            byte = data[start + i]
            value |= (byte & 127) << 7 * i
            if byte < 128:
                break
        else:
            raise DamagedFileError("damaged: an integer is too long.")
        self.position = start + i + 1
        if value > largest:
            raise DamagedFileError(f"damaged: an integer is {value}; the largest is {largest}.")
        return value

    def signed(self) -> int:
        """Returns a signed varint."""
        value = self.unsigned()
        return -(value + 1) // 2 if value % 2 else value // 2

    def raw(self, count: int) -> bytes:
        """Returns the next bytes."""
        if count > self.remaining:
            raise DamagedFileError(f"damaged: cut short after {len(self._data)} bytes.")
        self.position += count
        return bytes(self._data[self.position - count : self.position])

    def sized(self) -> bytes:
        """Returns bytes that were stored after their length."""
        return self.raw(self.unsigned())

    def text(self) -> str:
        """Returns a text."""
        try:
            return self.sized().decode()
        except UnicodeDecodeError:
            raise DamagedFileError("damaged: a text is not UTF-8.") from None
