"""The ways in which a file is damaged."""

DAMAGES = {
    "empty": lambda data: b"",
    "first_byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "middle_byte": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "last_byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "cut_in_half": lambda data: data[: len(data) // 2],
    "cut_by_one_byte": lambda data: data[:-1],
    "extra_bytes": lambda data: data + b"\x00damaged\xff",
}
