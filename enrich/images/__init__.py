"""Read images below the allowed roots, and decode them within limits."""
