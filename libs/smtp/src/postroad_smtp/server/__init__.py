"""The server's side of SMTP as octets: what a client sends, and where each part of it ends.

`stream` gives lines, and whatever has arrived; `data` finds the end of DATA, `chunking` reads BDAT;
`lineends` judges and repairs the line ends of what came; `sasl` decodes AUTH. No command, reply or
mailbox is known here: what the octets mean is decided by ingress-smtp and by the mail sink.
"""
