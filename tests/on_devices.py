"""``python -m tests.on_devices N COMMAND --flag=value ...``: tfbs-shift on N devices of one CPU."""

import os
import sys


def split(devices: int) -> None:
    """Before the backend computes anything."""
    if os.environ.get("KERAS_BACKEND") == "jax":
        # Compiling thoroughly takes longer than it gains here.
        os.environ["XLA_FLAGS"] = (
            f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0 "
            "--xla_llvm_disable_expensive_passes=true"
        )
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, parts)


if __name__ == "__main__":
    split(int(sys.argv[1]))
    from tfbs_shift.commands import main

    sys.exit(main(sys.argv[2:]))
