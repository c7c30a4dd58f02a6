"""Cards of networks, their files and downloads, and the bundled networks."""
