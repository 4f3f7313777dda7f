"""What is taken out of texts before others read them."""

from pathlib import Path

import pytest

from dnnlib.privacy import without_home, without_secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.com/a.pkl?id=3&version=2#sha256=00", "https://example.com/a.pkl?id=3&version=2#sha256=00"),
        ("https://me:pw@example.com:8443/a.pkl", "https://example.com:8443/a.pkl"),
        ("https://example.com/a.pkl?token=s3cret&id=3#sha256=00", "https://example.com/a.pkl?id=3#sha256=00"),
        ("'https://b.x/y?X-Amz-Signature=s&X-Amz-Date=d' --seed 3", "'https://b.x/y' --seed 3"),
        ("https://b.x/y?sig=s&sp=r https://c.x/?AWSAccessKeyId=s", "https://b.x/y?sp=r https://c.x/"),
        ("https://drive.google.com/uc?id=abc&export=download", "https://drive.google.com/uc?id=abc&export=download"),
        ("https://[/x?token=s", "https://..."),
        ("old.pkl --data datasets/token=1", "old.pkl --data datasets/token=1"),
    ],
)  # fmt: skip
def test_addresses_lose_what_lets_others_in(text, expected):
    assert without_secrets(text) == expected == without_secrets(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--data /home/alice/faces --seed 3", "--data ~/faces --seed 3"),
        ("/Users/Bob/x.pkl", "~/x.pkl"),
        ("data=/root/faces", "data=~/faces"),
        ("/mnt/home/alice /rooted/x https://x.com/home/x", "/mnt/home/alice /rooted/x https://x.com/home/x"),
        ("datasets/faces", "datasets/faces"),
    ],
)  # fmt: skip
def test_paths_lose_the_name_of_the_user(text, expected):
    assert without_home(text) == expected


def test_the_home_of_this_user_may_be_anywhere(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/data/people/carol"))
    assert without_home("/data/people/carol/x /data/people/caroline") == "~/x /data/people/caroline"
