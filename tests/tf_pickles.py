"""Writes network pickles as msg-stylegan-tf and StyleGAN do, with classes that exist only while writing."""

import pickle
import sys
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np


def network_class(module: str = "dnnlib.tflib.network", name: str = "Network") -> type:
    return type(name, (), {"__module__": module, "__getstate__": lambda self: self.__dict__["state"]})


def dumps(content: Any, *classes: type, protocol: int = 4) -> bytes:
    """pickle.dumps while the modules of the classes exist."""
    modules = {}
    for c in classes:
        modules.setdefault(c.__module__, ModuleType(c.__module__)).__dict__[c.__name__] = c
    with mock.patch.dict(sys.modules, modules):
        return pickle.dumps(content, protocol=protocol)


def network(cls: type, **state: Any) -> Any:
    net = cls()
    net.state = state
    return net


def triple(
    G: dict[str, np.ndarray],
    D: dict[str, np.ndarray],
    g_kwargs: dict[str, Any],
    d_kwargs: dict[str, Any],
    version: int = 3,
    protocol: int = 4,
) -> bytes:
    """(G, D, Gs) with variables by their full names; Gs is G."""
    cls = network_class()

    def component(name: str) -> Any:
        own = [(k.removeprefix(name + "/"), np.array(v)) for k, v in G.items() if k.startswith(name + "/")]
        return network(cls, version=version, name=name, static_kwargs=g_kwargs, components={}, variables=own)

    def generator(name: str) -> Any:
        components = {"synthesis": component("G_synthesis"), "mapping": component("G_mapping")}
        own = [(k, v) for k, v in G.items() if "/" not in k]
        return network(
            cls, num_inputs=2, version=version, name=name, static_kwargs=g_kwargs, components=components,
            build_module_src="# source omitted", build_func_name="G_style", variables=own,
        )  # fmt: skip

    discriminator = network(
        cls, num_inputs=5, version=version, name="D", static_kwargs=d_kwargs, components={},
        build_module_src="# source omitted", build_func_name="D_basic", variables=list(D.items()),
    )  # fmt: skip
    return dumps((generator("G"), discriminator, generator("Gs")), cls, protocol=protocol)
