"""Images to features: backbones, the extraction through them, and the store that keeps the result."""
