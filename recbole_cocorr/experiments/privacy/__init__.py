"""What a user's uploads and requests tell the cloud, and what hiding them costs."""
