"""Options of the networks: what every architecture answers, and which values are refused."""

from dataclasses import replace
from typing import get_args

import pytest

from training.config import as_dict, from_dict
from training.networks.config import (
    AnyDiscriminatorConfig,
    AnyGeneratorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    ProGANDiscriminatorConfig,
    ProGANGeneratorConfig,
    StoredDiscriminatorConfig,
    StoredGeneratorConfig,
    StyleGANDiscriminatorConfig,
    StyleGANGeneratorConfig,
    TrainedDiscriminatorConfig,
    TrainedGeneratorConfig,
    progan_nf,
)


@pytest.mark.parametrize("cls", [AnyGeneratorConfig, AnyDiscriminatorConfig])
def test_an_architecture_must_answer_what_the_program_asks(cls):
    with pytest.raises(TypeError, match="abstract"):
        cls()


@pytest.mark.parametrize("cls", [*get_args(StoredGeneratorConfig), *get_args(StoredDiscriminatorConfig)])
def test_options_survive_a_round_trip_as_plain_values(cls):
    union = StoredGeneratorConfig if issubclass(cls, AnyGeneratorConfig) else StoredDiscriminatorConfig
    config = replace(cls(), use_wscale=False)
    assert from_dict(union, as_dict(config), "x") == config


@pytest.mark.parametrize("cls", get_args(StoredGeneratorConfig))
def test_every_generator_has_a_discriminator_and_can_be_trained(cls):
    config = cls()
    trained = config.as_trained()
    assert isinstance(trained, get_args(TrainedGeneratorConfig))
    for preset in (DiscriminatorConfig(), ProGANDiscriminatorConfig()):
        D = config.matching_discriminator(preset).as_trained()
        assert isinstance(D, get_args(TrainedDiscriminatorConfig)) and D.kind == trained.kind


def test_a_matching_discriminator_has_the_generators_size_and_the_presets_options():
    G = GeneratorConfig(fmap_base=128, fmap_max=16, blur_filter=())
    matching = G.matching_discriminator(DiscriminatorConfig(fmap_base=4096, combine="simple"))
    assert matching == DiscriminatorConfig(fmap_base=128, fmap_max=16, blur_filter=(), combine="simple")

    G = ProGANGeneratorConfig(z_dim=16)
    matching = G.matching_discriminator(ProGANDiscriminatorConfig(combine="simple"))
    assert matching == ProGANDiscriminatorConfig(features=16, combine="simple")


def test_plain_stylegan_is_trained_as_msg_stylegan_with_the_same_layers():
    G = StyleGANGeneratorConfig(z_dim=8, mapping_layers=3, truncation_psi=0.5)
    assert G.as_trained() == GeneratorConfig(z_dim=8, mapping_layers=3, truncation_psi=0.5)
    D = StyleGANDiscriminatorConfig(fmap_base=128, mbstd_group_size=2)
    assert D.as_trained() == DiscriminatorConfig(fmap_base=128, mbstd_group_size=2)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: GeneratorConfig(z_dim=0), "z_dim: found 0, expected 1 to 2"),
        (lambda: ProGANGeneratorConfig(truncation_psi=11), "truncation_psi: found 11, expected -10 to 10"),
        (lambda: GeneratorConfig(fmap_base=0), "fmap_base: found 0, expected 1 to 2"),
        (lambda: GeneratorConfig(blur_filter=(1, -1)), "blur_filter: found .*sum is not 0"),
        (lambda: GeneratorConfig(use_styles=False), "use_const_input: expected false when use_styles is false"),
        (lambda: DiscriminatorConfig(mbstd_group_size=0), "mbstd_group_size: found 0, expected >= 1"),
        (lambda: ProGANDiscriminatorConfig(features=0), "features: found 0, expected 1 to 2"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_feature_maps_by_resolution():
    config = GeneratorConfig(fmap_base=8192, fmap_max=512)
    assert [config.nf(stage) for stage in (0, 4, 5, 9)] == [512, 512, 256, 16]
    assert [progan_nf(512, level) for level in (0, 3, 4, 8)] == [512, 512, 256, 16]


def test_which_kernels_the_originals_fused_layers_rotate():
    sizes = ((64, 256), (128, 128))
    assert [GeneratorConfig().rotates_kernels(*size) for size in sizes] == [False, True]
    assert [GeneratorConfig(fused_scale="true").rotates_kernels(*size) for size in sizes] == [True, True]
    assert [GeneratorConfig(fused_scale="false").rotates_kernels(*size) for size in sizes] == [False, False]
