"""Where things are computed: a CPU, GPUs, several processes."""
