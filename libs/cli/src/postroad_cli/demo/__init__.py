"""`postroad demo`: one real mail through the whole road, each step checked and timed.

`mails` is what is sent, `submission` hands it in, `received` checks the copy that arrived,
`reader` opens and clicks, `returned` bounces. `steps` puts all that in order, `screen` shows it.
"""
