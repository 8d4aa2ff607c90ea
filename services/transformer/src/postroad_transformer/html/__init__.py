"""HTML taken apart at its tags, and what it says: the floor of CSS and tracking."""
