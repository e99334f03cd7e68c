"""HELM AI Kernel: a fail-closed execution firewall for AI agents."""

__version__ = "0.1.0"
