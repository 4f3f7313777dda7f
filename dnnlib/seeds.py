"""Seeds that are functions of what they are for, so that nothing random depends on the order of events."""

import hashlib


def seed_of(*key: int | str) -> int:
    """Return a 63-bit seed that any change of `key` changes."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
