"""Images in: sources of images, and the rules by which their bytes become pixels."""
