"""The local mail sink: a receiving server for tests, demo and bench that delivers nothing.

It takes mail for every address, shows it on a web page and as JSON, and misbehaves when told to.

- `session` speaks SMTP with one client, `commands` reads its lines, `extensions` is what EHLO
  offers, `server` listens.
- `rules` is what a misbehaviour looks like in JSON, `behaviour` decides when one applies.
- `mailbox` keeps messages, `mime` reads them, `counts` counts.
- `web` answers HTTP, `page/` holds the web page, `main` starts everything.
"""
