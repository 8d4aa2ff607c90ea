"""What the tests of all packages share. No service and no other library depends on it.

`waiting` waits for conditions, `pace` demands times in the speed tests only, `factories` makes
messages, `queues` looks into RabbitMQ and `documents` into MongoDB, `process` runs a service as a
process of its own, `ports` chooses where it listens. `nameserver` is the world outside,
`certificates` its authority, `forwarder` a line that can be cut. `dialog` is SMTP in files, which
`dialogserver` and `dialogclient` play, this one by a `lineclient`.
"""
