"""The two sides of SMTP as they are on the wire.

`client` opens a conversation and hands over a message, with an outcome for each recipient. What a
message means, whom it is for and when it is sent is decided by the services that use this library.
"""
