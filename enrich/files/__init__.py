"""Tables and folders on a local disk: what the jobs without Spark read, and what all jobs write."""
