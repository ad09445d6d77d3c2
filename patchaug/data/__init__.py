"""Windows as a torch dataset, and what both fastai plugins share."""
