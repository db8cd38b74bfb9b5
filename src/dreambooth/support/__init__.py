"""What every part uses: files that are whole or not there, randomness by place, progress, the stop button."""
