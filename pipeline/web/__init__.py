"""What the pages in the browser share: a local server that answers this machine's own pages only, and their look."""
