"""``python -m tests.on_devices N COMMAND --flag=value ...``: tfbs-shift on N devices of one CPU."""

import os
import sys


def split(devices: int) -> None:
    """Before the backend computes anything."""
    if os.environ.get("KERAS_BACKEND") == "jax":
        flag = f"--xla_force_host_platform_device_count={devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, parts)


if __name__ == "__main__":
    split(int(sys.argv[1]))
    from tfbs_shift.commands import main

    sys.exit(main(sys.argv[2:]))
