"""The two queues of this service: returned mail, and failures that the sender met itself."""
