"""The competition's images and tables, and the way to Kaggle and back."""
