"""What the tests of all packages share. No service and no other library depends on it.

`waiting` waits for conditions, `pace` demands times in the speed tests only, `factories` makes
messages, `queues` looks into RabbitMQ, `process` runs a service as a process of its own. `receiver`
and `nameserver` are the world outside, `certificates` its authority, `forwarder` a line that can be
cut, `dialog` plays SMTP from files.
"""
