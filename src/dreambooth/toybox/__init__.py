"""The toybox: a small rendered world of toys in which the truth about every picture is known."""
