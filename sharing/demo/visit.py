"""What the page remembers of a visitor."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dnnlib.errors import UserError
from generation.latent_directions import Directions
from generation.latent_files import StoredLatents
from sharing.demo.small_pictures import thumbnail
from sharing.demo.studio import MOST_KEYS, Picture


class Kept(NamedTuple):
    """A picture that a visitor keeps for a walk."""

    w: np.ndarray  # float32 [num_ws,w_dim]
    thumbnail: np.ndarray  # uint8 [C,h,w]
    name: str


@dataclass
class Visit:
    """What the page remembers of a visitor."""

    stored: StoredLatents | None = None
    directions: Directions | None = None
    """Directions of an uploaded file."""
    picture: Picture | None = None
    made_from: tuple[Any, ...] | None = None
    """The choices that the picture was made from."""
    shown_level: int | None = None
    """The level of it that is shown large."""
    kept: list[Kept] = field(default_factory=list)
    seen: tuple[int, ...] | None = None
    """The version of the run that is shown."""

    def made(self) -> Picture:
        """Return the picture; raise UserError if there is none."""
        if self.picture is None:
            raise UserError("There is no picture yet.")
        return self.picture

    def keep(self) -> None:
        """Keep the picture for a walk; raise UserError if there are enough."""
        picture = self.made()
        if len(self.kept) == MOST_KEYS:
            raise UserError(f"{MOST_KEYS} pictures are kept, which is the most; remove one of them first.")
        self.kept.append(Kept(picture.w, thumbnail(picture.levels[-1]), picture.name))

    def drop(self, count: int) -> None:
        """Remove the last ones of the kept pictures."""
        del self.kept[-count:]
