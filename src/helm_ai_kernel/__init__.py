"""HELM AI Kernel: a fail-closed execution firewall for AI agents."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app.kernel import Denied, Failed, Held, Kernel, NotApplied, NotReleased, Unknown, Withheld

__version__ = "0.1.0"
__all__ = [
    "Denied",
    "Failed",
    "Held",
    "Kernel",
    "NotApplied",
    "NotReleased",
    "Unknown",
    "Withheld",
    "__version__",
]


def __getattr__(name: str) -> object:
    """The library is imported when it is asked for: the verifier uses this package without the rest of it."""
    if name in __all__:
        from .app import kernel

        return getattr(kernel, name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
