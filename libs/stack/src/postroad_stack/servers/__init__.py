"""Where RabbitMQ and MongoDB come from, and how they are run.

`choose` decides and fetches what is missing; `rabbitmq` and `mongodb` turn the choice into
programs, the same ones in a container and on this machine.
"""
