"""Webhooks: checked, registered, called. The process that posts the events is feedback."""
