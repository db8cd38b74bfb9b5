"""The subjects of a command: folders of photos with their nouns, or a TOML file. Nothing here needs torch."""
