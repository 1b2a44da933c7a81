"""The competition's images and tables; downloads from Kaggle, and uploads of submissions."""
