"""Task: `pyinfra INVENTORY tasks.addresses.addresses` lists who has which tunnel addresses."""

from tasks.running.before import addresses

__all__ = ["addresses"]
