"""Beyond one machine: the same work on a Ray cluster. Nothing outside of this folder knows of Ray."""
