"""The demo catalog: photographs of second-hand clothes, and planted faults."""
