"""What ends a coordinator before its job is over; each has its own exit status."""

from collections.abc import Mapping

from disco_engine.core.model import ServiceId


class CoordinatorError(Exception):
    """Root of the errors below."""


class FencedError(CoordinatorError):
    """A partition service has seen a newer coordinator, or belongs to another job.

    This process has been replaced and must stop at once: nothing it says is believed any more.
    """

    def __init__(self, service: str, details: str) -> None:
        super().__init__(
            f"partition service {service} refuses this coordinator: {details};"
            " another coordinator has taken over, or the service belongs to another job"
        )


class ServiceUnusableError(CoordinatorError):
    """A partition service answers in a way that trying again cannot mend."""

    def __init__(self, service: str, address: str, details: str) -> None:
        super().__init__(
            f"partition service {service} at {address} cannot be used: {details};"
            " check that it was started with this job's token and from the same release"
        )


class NoServiceError(CoordinatorError):
    """No partition service answered when the coordinator started."""

    def __init__(self, addresses: Mapping[ServiceId, str], patience_s: float) -> None:
        listed = ", ".join(f"{name} at {address}" for name, address in addresses.items())
        super().__init__(
            f"no partition service answered within {patience_s:g} s ({listed});"
            " start them before the coordinator, or correct their addresses"
        )
