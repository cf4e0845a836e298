"""The decoder G: a stock UNet and VAE, one attention seam, one denoising loop."""
