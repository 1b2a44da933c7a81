"""Who does the work and until when: engines, locks, the deadline."""
