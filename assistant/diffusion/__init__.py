"""The decoder G: a stock UNet and VAE, one attention context, one denoising loop."""
