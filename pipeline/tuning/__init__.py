"""The search's rooms: variants of a run, who judges them, and the study that draws them."""
