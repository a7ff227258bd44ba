"""Training against shifts: the trainer, runs that resume, callbacks."""
