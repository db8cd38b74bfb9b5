"""The embedded models that can be made: one row each."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """Everything that fixes the shape of an embedded model."""

    resolution: int
    autoencoder_channels: tuple[int, ...]
    latent_channels: int
    denoiser_channels: tuple[int, ...]
    denoiser_attends: tuple[bool, ...]
    denoiser_layers: int
    heads: int
    text_width: int
    text_layers: int
    text_positions: int = 28

    @property
    def latent_resolution(self) -> int:
        """Side of the latent grid in cells."""
        return self.resolution >> (len(self.autoencoder_channels) - 1)


SIZES = {
    "embedded": Size(
        resolution=128,
        autoencoder_channels=(16, 32, 64, 64),
        latent_channels=8,
        denoiser_channels=(64, 128, 192),
        denoiser_attends=(False, True, True),
        denoiser_layers=1,
        heads=4,
        text_width=128,
        text_layers=2,
    ),
    "large": Size(
        resolution=128,
        autoencoder_channels=(16, 32, 64, 64),
        latent_channels=8,
        denoiser_channels=(96, 192, 256),
        denoiser_attends=(False, True, True),
        denoiser_layers=1,
        heads=4,
        text_width=128,
        text_layers=2,
    ),
}
