"""What Postroad sends on: notifications of its own, and returned mail to the envelope sender."""
