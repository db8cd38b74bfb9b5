"""The studio's addresses: pages, drafts, runs."""
