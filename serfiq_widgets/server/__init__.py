"""The dashboard on a server: Voila for one person, and the public demo with its sessions."""
