"""How much the trials embed: read by the driver process, and by the tests."""

N_IMAGES = 24
ROWS_PER_SHARD = 4
