"""The report: leaderboard, caveats, comparison, figures, and the page with a module per section."""
