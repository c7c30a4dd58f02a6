"""Servers of the dashboard: Voila for one user, and the public demo with its sessions."""
