"""From a submission to outbound messages: the template, and what differs per recipient."""
