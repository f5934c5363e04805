"""The demo catalog: invented products with drawn pictures, so that the job runs at once."""
