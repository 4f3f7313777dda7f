"""Optional packages."""

import importlib
from types import ModuleType

from dnnlib.errors import UserError


def import_extra(module: str, command: str) -> ModuleType:
    """Import a module of an optional package; raise UserError if the package is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        # A package is named by the first part of its modules.
        package = module.split(".")[0]
        raise UserError(f"{command}: needs {package}: pip install {package}") from e
