"""Facts about SoCs, with units and sources.

Example:
    >>> from paceline.targets import known_socs, load_soc
    >>> load_soc("imx95").unit("gpu").vulkan_target
    'mali-g310'
"""

from paceline.targets.host import detect_host
from paceline.targets.limits import GpuLimits, GpuNeeds
from paceline.targets.loader import known_socs, load_soc
from paceline.targets.soc import Dtype, Figure, ProcessingUnit, Soc

__all__ = ["Dtype", "Figure", "GpuLimits", "GpuNeeds", "ProcessingUnit", "Soc", "detect_host", "known_socs", "load_soc"]
