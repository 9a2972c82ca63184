"""What a user or a device says of the kernel that imported headers are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from kheaders_adb.device.probe import Probe, probe
from kheaders_adb.errors import UsageError
from kheaders_adb.kernel.config import load_config
from kheaders_adb.model import ArchiveFacts, KernelIdentity
from kheaders_adb.untrusted import host_file
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from kheaders_adb.device.device import Device

STEP = "importing"


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of the kernel that an imported archive is said to belong to.

    Attributes:
        probe: a device that runs it, or None.
        config: its configuration, plain or gzipped, or None.
        release: its release, or None.
        config_name: what that is called in messages.
    """

    probe: Probe | None = None
    config: bytes | None = None
    release: str | None = None
    config_name: str = "the configuration"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to match the archive with."""
        return self.probe is None and self.config is None and self.release is None

    def config_text(self, limits: Limits = DEFAULT_LIMITS) -> bytes | None:
        """The configuration, unpacked; None if it is not known.

        Raises:
            CorruptArchiveError: it does not unpack, or to more than a configuration ever is.
        """
        if self.probe is not None:
            return self.probe.config
        return None if self.config is None else load_config(self.config, limits)

    def identity(self, config: bytes | None, facts: ArchiveFacts) -> KernelIdentity:
        """The kernel that is claimed.

        What the user does not say is taken from the archive, so that the kernel has a name.  It proves
        nothing: see `unclaimed`.

        Args:
            config: as of `config_text`.
            facts: what the archive says.
        """
        if self.probe is not None:
            return self.probe.identity
        return KernelIdentity(
            release=self.release or facts.release or "",
            version=facts.uts_version or "",
            machine=facts.uts_machine or facts.srcarch or "",
            config_sha256=None if config is None else sha256(config).hexdigest(),
        )

    @property
    def unclaimed(self) -> frozenset[str]:
        """The checks to which `identity` brings nothing but the archive's own words."""
        if self.probe is not None:
            return frozenset()
        own = {"version", "machine"}
        return frozenset(own if self.release is not None else {"release", *own})


def claim_of(
    find: Callable[[], Device] | None, config: Path | None, release: str | None
) -> tuple[Claim, str | None]:
    """What a user claims, with a device or in words.

    Args:
        find: finds a device that runs the kernel; None if there is none.
        config: the file of the kernel's configuration.
        release: the kernel's release.

    Returns:
        The claim, and the device's serial.

    Raises:
        UsageError: both a device and words are given, or `config` is no configuration.
        DeviceError, TransferError: the device is not there, or was lost.
    """
    if find is None:
        said = None if config is None else read_claimed_config(config)
        return Claim(config=said, release=release, config_name=str(config)), None
    if config is not None or release is not None:
        raise UsageError(
            "a device and --config or --release name two kernels", hint="give one of them"
        )
    device = find()
    return Claim(probe=probe(device)), device.serial


def read_claimed_config(path: Path) -> bytes:
    """The bytes of a configuration file, plain or gzipped.

    Raises:
        UsageError: it is no file, cannot be read, or is longer than any configuration.
    """
    cap_bytes = DEFAULT_LIMITS.config_bytes
    data = host_file.read(path, cap_bytes, step=STEP)
    if len(data) > cap_bytes:
        raise UsageError(
            f"{path} is no configuration: it has more than {cap_bytes} bytes",
            step=STEP,
            hint="give a kernel's .config or config.gz",
        )
    return data
