"""Training plans as data: the shipped TOML files and the code that reads them."""
