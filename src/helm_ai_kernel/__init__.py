"""HELM AI Kernel: a fail-closed execution firewall for AI agents."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app.kernel import Kernel

__version__ = "0.1.0"
__all__ = ["Kernel", "__version__"]


def __getattr__(name: str) -> object:
    """`Kernel` is imported when it is asked for: the verifier uses this package without the rest of it."""
    if name == "Kernel":
        from .app.kernel import Kernel

        return Kernel
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
