"""What a returned mail says: bounce, complaint or reply, about whom, and why."""
