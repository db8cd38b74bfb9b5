"""Many subjects, one job each: what is finished is kept, what fails is told, and one report shows all."""

from dreambooth.fleet.conduct import fleet, listing
from dreambooth.fleet.manifest import Member, read_manifest

__all__ = ["Member", "fleet", "listing", "read_manifest"]
