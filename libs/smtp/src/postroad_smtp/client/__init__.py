"""An SMTP client of our own: it pipelines, and knows an outcome for each recipient.

`connection` knows octets and replies and nothing of SMTP's meaning; `session` opens a conversation
(greeting, EHLO, STARTTLS, AUTH); `commands` writes the lines of a transaction; `transaction` sends
one message; `dotstuff` makes its octets fit for the wire. Which host to talk to, and when, is
decided elsewhere.
"""
