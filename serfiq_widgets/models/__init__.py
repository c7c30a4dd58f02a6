"""Cards of networks, their files and their download; the bundled networks lie here."""
