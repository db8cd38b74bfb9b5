"""What will go wrong, told before it does: of photos, and of this machine.

installation.py imports no library before it looks at it, so that a broken one is told and not met.
"""
