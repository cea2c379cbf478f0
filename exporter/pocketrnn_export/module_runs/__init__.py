"""A user's module, run and copied: on the CPU and in silence, with what it holds as it was before."""
