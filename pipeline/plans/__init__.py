"""What to make, as data: the shipped plans and the code that reads them."""
