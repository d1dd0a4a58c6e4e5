"""What a Vulkan driver offers, asked in a process of its own: a broken driver takes nothing else down with it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import DeviceUnavailable

_TIMEOUT = 60


@dataclass(frozen=True, kw_only=True)
class VulkanDevice:
    """A device and the limits that matter to compiled programs.

    Attributes:
        name: as the driver calls it.
        api: version of Vulkan.
        supported: it has all that IREE's Vulkan driver needs; ``missing`` says what it lacks.
        subgroup: smallest and largest subgroup size.
        storage_bits: the narrowest element that programs may load and store.
        memory: bytes of its largest heap.
    """

    name: str
    api: str
    supported: bool
    missing: str
    subgroup: tuple[int, int]
    storage_bits: int
    memory: int


def probe(icd: Path, loader: Path | None) -> VulkanDevice:
    """The first device of a driver.

    Raises:
        DeviceUnavailable: the driver cannot be loaded, crashes, hangs, or offers no device.
    """
    command = [sys.executable, "-m", __name__, str(icd), str(loader or "")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceUnavailable(f"the Vulkan driver {icd} did not answer within {_TIMEOUT} s") from None
    if done.returncode < 0:
        raise DeviceUnavailable(f"the Vulkan driver {icd} crashed (signal {-done.returncode})")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DeviceUnavailable(f"the Vulkan driver {icd} cannot be used: {lines[-1]}")
    return parse_device(done.stdout)


def parse_device(text: str) -> VulkanDevice:
    """Read IREE's description of a Vulkan device, ``key: value`` lines and ``key=value`` pairs."""

    def find(pattern: str, default: str = "") -> str:
        match = re.search(pattern, text, re.MULTILINE)
        return match[1] if match else default

    tier = find(r"^feature_tier\[vulkan-1\.3\]: (.*)$")
    narrow = [bits for bits in (8, 16) if find(rf"storageBuffer{bits}BitAccess=(\w+)") == "yes"]
    heaps = [int(size) for size in re.findall(r"^  \[\d+\] size=(\d+)", text, re.MULTILINE)]
    size = find(r"subgroup: size=(\d+)", "0")
    return VulkanDevice(
        name=find(r"^name: (.*)$", "unnamed"),
        api=find(r"^api: (.*)$", "unknown"),
        supported=tier == "supported",
        missing="" if tier == "supported" else tier,
        subgroup=(int(find(r"minSubgroupSize=(\d+)", size)), int(find(r"maxSubgroupSize=(\d+)", size))),
        storage_bits=min(narrow, default=32),
        memory=max(heaps, default=0),
    )


def _describe_device(icd: str, loader: str) -> str:
    from iree.runtime import get_driver

    from paceline.runtime.vulkan_driver import Driver, prepare

    prepare(Driver(name="", icd=Path(icd), loader=Path(loader) if loader else None))
    driver = get_driver("vulkan")
    devices = driver.query_available_devices()
    if not devices:
        raise DeviceUnavailable("it offers no device")
    return str(driver.dump_device_info(devices[0]["device_id"]))


def main() -> int:
    """Print the description of a driver's first device; the last line on stderr says why not."""
    try:
        print(_describe_device(*sys.argv[1:3]))
    except (DeviceUnavailable, RuntimeError, ValueError) as error:
        print(str(error).strip().splitlines()[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
