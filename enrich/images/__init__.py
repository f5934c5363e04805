"""From an image path to an upright picture in RGB, within limits and without endless waiting."""
