"""What uploads tell about a user."""
