"""A cache of the parts of releases that fills itself, so that a site pulls one copy.

`main` runs it; `door` lets connections in, `answers` speaks HTTP, `filling` has each blob fetched
once whoever asks, `upstream` knows whom to ask, `shelf` keeps what came within a ceiling.
"""
