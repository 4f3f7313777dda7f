"""The web page, built with gradio: its parts, and what happens when a visitor uses them."""

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.extras import import_extra
from dnnlib.images import encode, opaque
from generation.latent_directions import Directions
from generation.networks import DEFAULT
from sharing.demo.download_files import DownloadFiles
from sharing.demo.run_view import RunWatch
from sharing.demo.small_pictures import strip
from sharing.demo.studio import DIRECTIONS, MOST_KEYS, Recipe, Studio
from sharing.demo.visit import Visit
from sharing.demo.visitor_input import layer_range, parse_seed, row_names, without_folders
from training.networks.architectures import ARCHITECTURES
from training.spec import size_text

ANY_CLASS = "by the seed"
FROM_SEED = "the seed"
FROM_FILE = "a file"

LOOK_EVERY = 4.0  # seconds between two looks at a run
QUEUE = 64  # requests that may wait for their turn
KEEP = (60, 900)  # seconds between two looks for old files of visitors, and how old they are then

# Events that use the network take turns; others are quick. Neither is offered to other programs.
QUICK: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
NETWORK: dict[str, Any] = {**QUICK, "concurrency_id": "network", "concurrency_limit": 1}

CSS = """
.gradio-container main {width: 100%; max-width: 1200px !important; margin: 0 auto !important}
#picture img {object-fit: contain; width: 100%; height: 100%; image-rendering: pixelated}
.pictures {display: flex; flex-wrap: wrap; gap: 8px; align-items: end}
.pictures figure {margin: 0; text-align: center; font-size: 12px; opacity: 0.9}
.pictures img {image-rendering: pixelated; width: 76px; height: 76px; border-radius: 4px}
.pictures figure.chosen img {outline: 3px solid var(--color-accent)}
"""


class Page:
    """The page of a studio; `blocks` is what gradio serves.

    Everything that uses the network waits in one queue, so that visitors do not slow one another down by more than
    their turn.
    """

    def __init__(self, studio: Studio, folder: Path, directions: Directions | None, watch: RunWatch | None) -> None:
        """Build the page.

        folder: of the files that visitors download. directions: what is shown until a visitor chooses others.
        """
        self.gr: Any = import_extra("gradio", "demo.py")
        self.studio, self.directions, self.watch = studio, directions, watch
        self.files = DownloadFiles(folder)

        gr = self.gr
        with gr.Blocks(title="MSG-GAN", analytics_enabled=False, delete_cache=KEEP) as self.blocks:
            self.visit = gr.State(Visit())
            self.place = gr.State(studio.place)
            self.title = gr.Markdown(self._title())
            with gr.Tab("Picture"), gr.Row():
                with gr.Column(scale=3, min_width=300):
                    self._build_picture()
                with gr.Column(scale=2, min_width=300):
                    self._build_seed()
                    self._build_mix()
                    self._build_directions()
                    self._build_upload()
            with gr.Tab("Walk"):
                self._build_walk()
            if watch is not None:
                with gr.Tab("Training run"):
                    self._build_run()
                self._connect_run()
            self._connect_picture()
            self._connect_walk()
        self.blocks.queue(max_size=QUEUE, default_concurrency_limit=1)

    # The parts of the page.

    def _title(self) -> str:
        studio = self.studio
        size, classes = size_text(*studio.sizes[-1]), studio.classes
        file = Path(studio.place.partition("?")[0]).name
        name = "The network that ships with MSG-GAN" if studio.place == str(DEFAULT) else file
        return f"## {escape(name)}\n{ARCHITECTURES[studio.G.cfg.kind].title}, {size}" + (
            f", {classes} classes" if classes else ""
        )

    def _build_picture(self) -> None:
        gr, sizes = self.gr, [size_text(*size) for size in self.studio.sizes]
        top = len(sizes) - 1
        self.image = gr.Image(
            label="Picture",
            format="png",
            height="min(480px, 90vw)",
            interactive=False,
            buttons=["fullscreen"],
            elem_id="picture",
        )
        self.levels = gr.HTML(elem_id="levels")
        self.level = gr.Slider(
            0,
            max(1, top),
            value=top,
            step=1,
            label="Level",
            visible=top > 0,
            elem_id="level",
            info=f"0 is {sizes[0]}, {top} is {sizes[-1]}",
        )
        with gr.Row():
            small = {"size": "sm", "min_width": 90}
            self.keep = gr.Button("Keep for a walk", elem_id="keep", **small)
            self.image_button = gr.Button("Download image", elem_id="image-file", **small)
            self.latents_button = gr.Button("Download latents", elem_id="latents-file", **small)

        # Files are written when they are asked for, and then fetched by a button that nobody sees.
        self.fetch = gr.DownloadButton(visible="hidden", elem_id="fetch")

    def _build_seed(self) -> None:
        gr, studio = self.gr, self.studio
        self.seed = gr.Number(0, label="Seed", precision=0, elem_id="seed")
        self.another = gr.Button("Another seed", size="sm", elem_id="another")
        classes = [ANY_CLASS, *range(studio.classes)]
        self.label = gr.Dropdown(classes, value=ANY_CLASS, label="Class", visible=bool(studio.classes), elem_id="class")
        self.psi = gr.Slider(
            -1,
            1.5,
            value=max(-1, min(studio.G.cfg.truncation_psi, 1.5)),
            step=0.05,
            label="Truncation psi",
            elem_id="psi",
            info="1 varies most, 0 is the average picture, negative values are its opposite",
        )
        modes = ["const", "random", "none"] if studio.G.synthesis.noise_shapes(1) else ["none"]
        self.noise = gr.Radio(modes, value=modes[0], label="Noise", visible=len(modes) > 1, elem_id="noise")

    def _build_mix(self) -> None:
        gr, last = self.gr, self.studio.num_ws - 1
        with gr.Accordion("Mix with a second seed", open=False, visible=last > 0, elem_id="mix"):
            self.mix = gr.Checkbox(label="Mix", elem_id="mix-on")
            self.second = gr.Number(1, label="Second seed", precision=0, elem_id="second")
            self.mix_first = self._layer("From layer (0 is coarse)", 0, "mix-first")
            self.mix_last = self._layer(f"To layer ({last} is fine)", min(3, last), "mix-last")
            self.sources = gr.HTML(elem_id="sources")

    def _build_directions(self) -> None:
        gr, last = self.gr, self.studio.num_ws - 1
        methods = [FROM_FILE] * (self.directions is not None) + self.studio.methods
        with gr.Accordion("Move along directions", open=False, elem_id="directions"):
            self.strengths = [
                gr.Slider(-5, 5, value=0, step=0.1, label=f"Direction {k}", elem_id=f"direction-{k}")
                for k in range(DIRECTIONS)
            ]
            self.reset = gr.Button("Back to zero", size="sm", elem_id="reset")
            self.method = gr.Dropdown(
                methods,
                value=methods[0] if methods else None,
                label="Directions of",
                elem_id="method",
                info="what changes pictures most, found without labels",
            )
            with gr.Column(visible=last > 0):
                self.first = self._layer("From layer (0 is coarse)", 0, "direction-first")
                self.last = self._layer(f"To layer ({last} is fine)", last, "direction-last")
            self.directions_file = gr.UploadButton(
                "Upload directions", file_types=[".npz"], elem_id="directions-file", size="sm"
            )

    def _layer(self, label: str, value: int, name: str) -> Any:
        """Return a slider of layers, which a network without styles hides."""
        last = self.studio.num_ws - 1
        return self.gr.Slider(0, max(1, last), value=value, step=1, label=label, elem_id=name)

    def _build_upload(self) -> None:
        gr = self.gr
        with gr.Accordion("Start from a file of latents", open=False, elem_id="upload"):
            self.upload = gr.UploadButton(
                "Upload latents", file_types=[".npz", ".zip"], elem_id="upload-file", size="sm"
            )
            self.source = gr.Dropdown([FROM_SEED], value=FROM_SEED, label="Picture from", elem_id="source")

    def _build_walk(self) -> None:
        gr = self.gr
        gr.Markdown("The walk passes through the pictures that you keep, and ends where it began.")
        self.gallery = gr.Gallery(
            label="Pictures that the walk passes through",
            show_label=False,
            columns=8,
            fit_columns=False,
            interactive=False,
            buttons=[],
            format="png",
            allow_preview=False,
            object_fit="contain",
            elem_id="kept",
        )
        with gr.Row():
            self.drop_last = gr.Button("Remove the last one", size="sm", elem_id="drop-last")
            self.drop_all = gr.Button("Remove all", size="sm", elem_id="drop-all")
        self.seconds = gr.Slider(
            0.2, 5, value=1.5, step=0.1, label="Seconds from one picture to the next", elem_id="seconds"
        )
        self.play = gr.Button("Play the walk", variant="primary", elem_id="play")
        self.film = gr.Video(
            label="Walk", autoplay=True, loop=True, interactive=False, height=420, buttons=["download"], elem_id="film"
        )

    def _build_run(self) -> None:
        gr = self.gr
        self.state = gr.Markdown("Reading the run ...", elem_id="run-state")
        self.sheets = gr.Gallery(
            label="Sheets of samples, newest first",
            columns=3,
            interactive=False,
            buttons=["fullscreen"],
            format="png",
            object_fit="contain",
            elem_id="sheets",
        )
        with gr.Row():
            self.losses = gr.Plot(label="Losses", elem_id="losses")
            self.scores = gr.Plot(label="Scores of D", elem_id="scores")
        self.timer = gr.Timer(LOOK_EVERY)

    # What happens.

    def _connect_picture(self) -> None:
        """Connect the parts: a change of any choice draws the picture again, the newest state only."""
        gr = self.gr
        choices = [
            *(self.seed, self.label, self.psi, self.noise, self.source, self.level),
            *(self.mix, self.second, self.mix_first, self.mix_last),
            *(self.method, self.first, self.last, *self.strengths),
        ]
        shown = [self.title, self.image, self.levels, self.sources, self.visit]
        self._choices = [choice for choice in choices if choice is not self.level]
        draw = {"fn": self._answer(self._draw), "inputs": {*choices, self.visit}, "outputs": shown, **NETWORK}
        changes = [self.blocks.load, self.place.change, *(choice.change for choice in choices)]
        gr.on(changes, trigger_mode="always_last", **draw)

        # Buttons change choices, which draws the picture.
        self.another.click(lambda: (int(np.random.randint(10**6)), FROM_SEED), None, [self.seed, self.source], **QUICK)
        self.seed.input(lambda: FROM_SEED, None, self.source, **QUICK)  # in place of a file
        self.reset.click(lambda: [0.0] * DIRECTIONS, None, self.strengths, **QUICK)
        for button, take, changed in (
            (self.upload, self._take_latents, [self.source, self.mix, *self.strengths]),
            (self.directions_file, self._take_directions, [self.method]),
        ):
            taken = button.upload(self._answer(take), [button, self.visit], [*changed, self.visit], **NETWORK)
            taken.success(**draw)

        # Downloads.
        fetch = {"fn": None, "js": "() => setTimeout(() => document.querySelector('#fetch').click(), 100)"}
        for button, write, inputs in (
            (self.image_button, self._image_file, [self.visit, self.level]),
            (self.latents_button, self._latents_file, [self.visit]),
        ):
            button.click(self._answer(write), inputs, [self.fetch], **QUICK).success(**fetch)

    def _connect_walk(self) -> None:
        """Connect what keeps pictures, and what makes a film of them."""
        kept = {"inputs": [self.visit], "outputs": [self.gallery, self.keep, self.visit], **QUICK}
        for button, change in (
            (self.keep, Visit.keep),
            (self.drop_last, lambda visit: visit.drop(1)),
            (self.drop_all, lambda visit: visit.drop(MOST_KEYS)),
        ):
            button.click(self._answer(partial(self._change_kept, change)), **kept)
        self.play.click(
            self._answer(self._film),
            [self.visit, self.seconds, self.noise],
            [self.film],
            **{**NETWORK, "show_progress": "full"},
        )

    def _connect_run(self) -> None:
        """Look at the run as soon as the page is open, and again and again."""
        gr = self.gr
        parts = [self.state, self.sheets, self.losses, self.scores, self.place, self.visit]
        look = {"inputs": [self.visit], "outputs": parts, "concurrency_id": "run", **QUICK}
        gr.on([self.blocks.load, self.timer.tick], self._answer(self._look), **look)

    def _answer(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose errors that a visitor can mend are answered in the page."""

        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except UserError as e:
                # Where files lie on this computer is nobody's business.
                message = without_folders(str(e))
                raise self.gr.Error(escape(message), title="This does not work", print_exception=False) from e

        return call

    def _draw(self, values: dict[Any, Any]) -> list[Any]:
        """Make the picture that the choices describe."""
        self.studio.follow()
        visit: Visit = values[self.visit]
        level = int(values[self.level])
        made_from = (self.studio.place, *(values[choice] for choice in self._choices))
        if visit.made_from != made_from:
            visit.picture = self.studio.picture(self._recipe(values))
            visit.made_from = made_from
        elif visit.shown_level == level:
            return [self.gr.skip()] * 5
        visit.shown_level = level
        picture = visit.made()

        # The chosen level is shown large, and all of them small.
        sizes = [size_text(*image.shape[1:]) for image in picture.levels]
        sources = ["the first", "the second"] if picture.sources else []
        return [
            self._title(),
            self.files.write("picture.png", encode(opaque(picture.levels[level]), ".png")),
            strip(picture.levels, sizes, level),
            strip(picture.sources, sources),
            visit,
        ]

    def _image_file(self, visit: Visit, level: int) -> str:
        """Write the chosen level of the picture."""
        picture = visit.made()
        image = picture.levels[level]
        size = "" if level == len(picture.levels) - 1 else f"-{size_text(*image.shape[1:])}"
        return self.files.write(f"{picture.name}{size}.png", encode(image, ".png"))

    def _latents_file(self, visit: Visit) -> str:
        """Write the latents of the picture."""
        picture = visit.made()
        return self.files.write(f"{picture.name}.npz", picture.latents_file())

    def _recipe(self, values: dict[Any, Any]) -> Recipe:
        """Return the choices as a recipe; raise UserError if one is wrong."""
        visit: Visit = values[self.visit]
        label, source = values[self.label], values[self.source]
        names = [] if visit.stored is None else row_names(visit.stored)
        is_mixed = values[self.mix] and self.studio.num_ws > 1
        stored = visit.stored if source in names else None
        return Recipe(
            seed=parse_seed(values[self.seed], "Seed"),
            label=None if label in (ANY_CLASS, None) else int(label),
            psi=values[self.psi],
            noise=values[self.noise],
            stored=stored,
            row=0 if stored is None else names.index(source),
            second_seed=parse_seed(values[self.second], "Second seed") if is_mixed else None,
            second_layers=layer_range(values[self.mix_first], values[self.mix_last]),
            directions=self._directions(values) if any(values[slider] for slider in self.strengths) else None,
            strengths=tuple(values[slider] for slider in self.strengths),
        )

    def _directions(self, values: dict[Any, Any]) -> Directions:
        """Return the directions that the visitor chose."""
        method = values[self.method]
        own = values[self.visit].directions or self.directions
        if method == FROM_FILE and own is not None:
            return own
        return self.studio.find_directions(method, layer_range(values[self.first], values[self.last]))

    def _take_latents(self, path: str, visit: Visit) -> list[Any]:
        """Take the latents of an uploaded file in place of the seed, as they are: neither mixed nor moved."""
        visit.stored, visit.made_from = self.studio.read_latents(Path(path)), None
        names = row_names(visit.stored)
        return [self.gr.Dropdown([FROM_SEED, *names], value=names[0]), False, *[0.0] * DIRECTIONS, visit]

    def _take_directions(self, path: str, visit: Visit) -> list[Any]:
        """Take the directions of an uploaded file."""
        visit.directions, visit.made_from = self.studio.read_directions(Path(path)), None
        return [self.gr.Dropdown([FROM_FILE, *self.studio.methods], value=FROM_FILE), visit]

    def _change_kept(self, change: Callable[[Visit], None], visit: Visit) -> list[Any]:
        """Change the kept pictures, and show them."""
        change(visit)
        pictures = [(self.files.write("kept.png", encode(kept.thumbnail, ".png")), kept.name) for kept in visit.kept]
        return [pictures, f"Keep for a walk ({len(pictures)})" if pictures else "Keep for a walk", visit]

    def _film(self, visit: Visit, seconds: float, noise: Any) -> str:
        """Make the film of a walk through the kept pictures."""
        path = self.files.new("walk.mp4")
        self.studio.film([kept.w for kept in visit.kept], seconds, noise, path)
        return str(path)

    def _look(self, visit: Visit) -> list[Any]:
        """Show what is new in the run."""
        assert self.watch is not None
        version = self.watch.version()
        if version == visit.seen:
            return [self.gr.skip()] * 6

        # A place that changes draws the picture again.
        visit.seen = version
        view = self.watch.look()
        sheets = [(self.files.write("sheet.png", data), title) for data, title in view.sheets]
        return [view.state, sheets, view.losses, view.scores, self.studio.newest(), visit]
