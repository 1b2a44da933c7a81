"""What else a user can type: one module a command."""
