"""Files of the Hugging Face Hub, by addresses such as hf://user/repo."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dnnlib.errors import UserError
from dnnlib.extras import import_extra

SCHEME = "hf://"
ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?")


class HubAddress(NamedTuple):
    """A repository of models, and perhaps a file in it."""

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{SCHEME}{self.repo}{revision}" + ("" if self.file is None else f"/{self.file}")

    @staticmethod
    def parse(text: str) -> "HubAddress":
        """Return what hf://user/repo, hf://user/repo@revision or hf://user/repo/file stands for, or raise UserError."""
        match = ADDRESS.fullmatch(text)
        if match is None:
            raise UserError(f"{text}: expected hf://user/repo, hf://user/repo@revision or hf://user/repo/file")
        return HubAddress(**match.groupdict())


def is_hub(path: str) -> bool:
    """Return whether `path` names something on the Hub."""
    return path.startswith(SCHEME)


def hub_library() -> Any:
    """Return huggingface_hub; raise UserError if it is not installed."""
    return import_extra("huggingface_hub", SCHEME)


def fetch_from_hub(address: str, default: str, suffixes: Sequence[str]) -> Path:
    """Return the copy of a file in the cache of huggingface_hub, downloaded first if it is not up to date.

    Without a file, the address stands for the file `default`, or else for the only file that ends in one of `suffixes`.
    Raises UserError if there is no such file, or if the Hub does not answer.
    """
    repo, revision, file = HubAddress.parse(address)
    hub, errors = hub_library(), import_extra("huggingface_hub.errors", SCHEME)

    def download(name: str) -> Path:
        return Path(hub.hf_hub_download(repo, name, revision=revision))

    with hub_errors(address):
        if file is not None:
            return download(file)
        try:
            return download(default)
        except errors.RemoteEntryNotFoundError:
            names = hub.HfApi().list_repo_files(repo, revision=revision)
            files = sorted(name for name in names if name.endswith(tuple(suffixes)))
            if len(files) != 1:
                found = ", ".join(files[:5]) or "no network file"
                raise UserError(f"{address}: found {found}, expected {default}, or an address with /FILE") from None
            return download(files[0])


@contextlib.contextmanager
def hub_errors(address: str) -> Iterator[None]:
    """Raise what the Hub or the way to it answers with as a UserError of one line."""
    errors: Any = import_extra("huggingface_hub.errors", SCHEME)
    httpx = import_extra("httpx2", SCHEME)
    try:
        yield
    except errors.GatedRepoError as e:
        raise UserError(f"{address}: its owner grants access: ask for it on the repository's page") from e
    except errors.RepositoryNotFoundError as e:
        raise UserError(f"{address}: no such repository, or a private one that your token does not open") from e
    except errors.RevisionNotFoundError as e:
        raise UserError(f"{address}: no such revision") from e
    except errors.RemoteEntryNotFoundError as e:
        raise UserError(f"{address}: no such file") from e
    except errors.HfHubHTTPError as e:
        status = e.response.status_code
        advice = ", expected a token that may do this (`hf auth login`)" if status in (401, 403) else ""
        raise UserError(f"{address}: the Hub refused, HTTP status {status}{advice}") from e
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, httpx.TransportError, ConnectionError) as e:
        raise UserError(f"{address}: the Hub cannot be reached") from e
    except ValueError as e:  # an address that the library does not take
        raise UserError(f"{address}: {str(e).partition(chr(10))[0]}") from e
