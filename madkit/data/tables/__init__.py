"""Tables from elsewhere: the rows of files, and what quirky datasets are made of."""
