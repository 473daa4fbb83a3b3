"""A pretend accelerator: tensors that claim another device and compute on the CPU, and a count of what a real one would
have waited for."""

from tests.stand_in.device import DEVICE, PretendDevice
from tests.stand_in.events import Event, Log
from tests.stand_in.twins import ACCELERATORS, accelerator, generator_on

__all__ = ["ACCELERATORS", "DEVICE", "Event", "Log", "PretendDevice", "accelerator", "generator_on"]
