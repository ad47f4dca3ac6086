"""What the numbers mean: metrics with intervals."""
