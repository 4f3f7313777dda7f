"""Fixtures of this folder."""

from tests.pretrained.snapshot_fixtures import networks, snapshot  # noqa: F401 - pytest finds them here
