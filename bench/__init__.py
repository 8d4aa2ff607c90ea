"""Postroad's own benchmark, `python -m bench` or `make bench`. How to read it is in README.md.

`rows` are what is measured, `mails` what is sent, `smtp` and `load` send it, `stack` and
`receivers` start what it is sent through and to, `usage` reads processor time and memory, `measure`
puts one row together and `report` prints it.
"""
