"""What a text says of who ran a program and where, taken out before others read it."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Addresses within a text, and the names of the parts of their queries that let others in.
ADDRESS = re.compile(r"https?://[^\s'\"<>]+", re.IGNORECASE)
SECRET = re.compile(
    r"token|secret|passw|signature|credential|session|auth|api-?_?key|^(key|sig|code|policy|expires)$|^x-(amz|goog)-|"
    r"^(aws|google)access(key)?id$",
    re.IGNORECASE,
)

# Home folders of the usual systems.
HOME = re.compile(r"(?<![\w.~-])(/home/|/Users/|/root(?![\w.-]))[^/\s'\",:]*")


def without_secrets(text: str) -> str:
    """Return a text in which web addresses have no user names, passwords, tokens and signatures."""
    return ADDRESS.sub(lambda match: _plain_address(match[0]), text)


def without_home(text: str) -> str:
    """Return a text in which paths in home folders, of this user and of others, begin with ~."""
    home = str(Path.home())
    if home not in ("/", "."):
        text = re.sub(rf"(?<![\w.~/-]){re.escape(home)}(?![\w.-])", "~", text)
    return HOME.sub("~", text)


def _plain_address(address: str) -> str:
    """Return a web address without what lets others in; "https://..." if it cannot be taken apart."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://..."

    # Without such a part, the address stays as it was written.
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not SECRET.search(name)]
    host = parts.netloc.rpartition("@")[2]
    if host == parts.netloc and len(kept) == len(query):
        return address
    return urlunsplit(parts._replace(netloc=host, query=urlencode(kept) if len(kept) < len(query) else parts.query))
