"""The studio: a page to upload photos, start runs, watch, stop, compare and use them, on a phone too.

The run folders are its database and the command line does all the work: every run is a process of its own, which goes
on when the page, or this server, is closed. Nothing here imports torch.
"""
