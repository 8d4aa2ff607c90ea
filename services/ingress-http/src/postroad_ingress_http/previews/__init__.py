"""Mail shown as it would be sent, with what is worth a warning; nothing is sent or kept."""
