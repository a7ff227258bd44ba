"""What Keras and what computes for it force: backends, devices, graphs, precision; nowhere else."""
